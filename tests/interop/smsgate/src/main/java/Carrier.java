import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.EndpointEntity.ChannelType;
import com.zx.sms.connect.manager.EndpointEntity.SupportLongMessage;
import com.zx.sms.connect.manager.EndpointManager;
import io.netty.channel.Channel;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * Takes one account's submits, each part by itself, refuses, reports, lets subscribers reply, until SIGTERM. With
 * `callback` it reports and delivers on a connection of its own, which it makes when the sender has logged in.
 */
final class Carrier {
  private static final DateTimeFormatter MINUTE =
      DateTimeFormatter.ofPattern("yyMMddHHmm").withZone(ZoneId.of("Asia/Shanghai"));

  static void run(Options options) throws Exception {
    Speech speech = Speech.of(options.text("protocol"));
    Counts counts = new Counts();
    int refuseEvery = options.number("refuse-every", 0);
    int replyEvery = options.number("reply-every", 0);
    CompletableFuture<Channel> called = new CompletableFuture<>();
    Business.Heard answered = (channel, message) -> {
      Speech.Delivery delivery = speech.answered(message);
      if (delivery != null) {
        counts.one(delivery.stat() != null ? "reports_answered" : "replies_answered");
      }
    };
    EndpointEntity caller = null;
    if (options.text("callback") != null) {
      caller = speech.client(options, options.number("callback", 0));
      caller.setChannelType(ChannelType.UP);
      caller.setSupportLongmsg(SupportLongMessage.SEND);
      caller.setBusinessHandlerSet(
          List.of(new Business(speech.firstHandler(), called::complete, answered, (channel, message) -> {})));
    }
    EndpointEntity calls = caller;
    EndpointEntity child = speech.child(options);
    child.setSupportLongmsg(SupportLongMessage.SEND);
    child.setBusinessHandlerSet(List.of(new Business(
        speech.firstHandler(),
        channel -> {
          counts.one("logins");
          if (calls == null) {
            called.complete(channel);
          } else {
            EndpointManager.INS.openEndpoint(calls);
          }
        },
        (channel, message) -> {
          if (speech.isGoodbye(message)) {
            counts.one("closed_terminated");
          }
          answered.message(channel, message);
        },
        (channel, message) -> {
          Speech.Submission submission = speech.submission(message);
          if (submission != null) {
            counts.one("submits");
            int number = counts.of("submits");
            boolean refused = refuseEvery > 0 && number % refuseEvery == 0;
            channel.writeAndFlush(speech.answer(submission, refused ? 9 : 0));
            boolean replies = replyEvery > 0 && number % replyEvery == 0;
            if (!refused) {
              String reply = replies ? options.text("reply-text", "R") : null;
              called.thenAccept(delivers -> follow(speech, counts, delivers, submission, reply));
            }
          }
        })));
    EndpointManager.INS.openEndpoint(speech.server(child, options.number("port", 0)));
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.printf(
        "{%s,%s,%s,%s,%s,%s,%s}%n",
        counts.total("logins"),
        counts.total("submits"),
        counts.total("reports"),
        counts.total("reports_answered"),
        counts.total("replies"),
        counts.total("replies_answered"),
        counts.total("closed_terminated"))));
    Thread.currentThread().join();  // the library's own threads keep no program alive
  }

  private static void follow(
      Speech speech, Counts counts, Channel channel, Speech.Submission submission, String reply) {
    if (submission.wantsReport()) {
      counts.one("reports");
      channel.writeAndFlush(speech.report(submission, "DELIVRD", MINUTE.format(ZonedDateTime.now())));
    }
    if (reply != null) {
      counts.one("replies");
      channel.writeAndFlush(speech.reply(submission, reply));
    }
  }
}
