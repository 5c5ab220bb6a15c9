import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.EndpointEntity.ChannelType;
import com.zx.sms.connect.manager.EndpointManager;
import io.netty.channel.Channel;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Logs in, submits (every third one from a number that is to be refused), waits for answers, reports and replies, tests
 * the link and leaves. With `listen` it is a listener, too, where carriers that call themselves `called-as` tell it of
 * reports and replies.
 */
final class Sender {
  private static final int WINDOW = 16;

  static void run(Options options) throws Exception {
    Speech speech = Speech.of(options.text("protocol"));
    Counts counts = new Counts();
    Semaphore window = new Semaphore(WINDOW);
    CompletableFuture<Channel> connected = new CompletableFuture<>();
    int messages = options.number("messages", 30);
    int answers = messages * options.number("parts", 1);
    int replies = options.number("replies", 0);
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(options.number("seconds", 30));

    Business.Heard delivered = (channel, message) -> {
      Speech.Delivery delivery = speech.delivery(message);
      if (delivery != null) {
        delivery.answers().forEach(channel::writeAndFlush);
        if (delivery.stat() != null) {
          counts.one("reports", delivery.stat());
        } else {
          counts.reply(delivery.text());
        }
      }
    };
    EndpointEntity client = speech.client(options, options.number("port", 0));
    if (options.text("listen") != null) {
      client.setChannelType(ChannelType.DOWN);
      String name = options.text("called-as", options.text("account"));
      EndpointEntity called = speech.child(options.but("account", name));
      called.setBusinessHandlerSet(
          List.of(new Business(speech.firstHandler(), channel -> {}, (channel, message) -> {}, delivered)));
      EndpointManager.INS.openEndpoint(speech.server(called, options.number("listen", 0)));
    }
    client.setBusinessHandlerSet(List.of(new Business(
        speech.firstHandler(),
        connected::complete,
        (channel, message) -> {
          Integer result = speech.result(message);
          if (result != null) {
            counts.one("results", result);
            window.release();
          } else if (speech.isHeartbeatAnswer(message)) {
            counts.one("active_tests");
          } else if (speech.isGoodbyeAnswer(message)) {
            counts.one("terminated");
          }
        },
        delivered)));
    EndpointManager.INS.addEndpointEntity(client);
    EndpointManager.INS.openEndpoint(client);

    Channel channel = connected.get(10, TimeUnit.SECONDS);
    int submitted = 0;
    while (submitted < messages && window.tryAcquire(10, TimeUnit.SECONDS)) {
      String from = options.text(submitted % 3 == 2 ? "refused-from" : "from");
      String to = String.format("1380000%04d", submitted);
      channel.writeAndFlush(speech.submit(options.text("account"), from, to, options.text("text")));
      submitted++;
    }
    counts.await(
        deadline,
        () -> counts.of("results") == answers
            && counts.of("reports") == counts.of("results", 0)
            && counts.of("heard") >= replies);
    if (speech.heartbeat() != null) {
      channel.writeAndFlush(speech.heartbeat());
      counts.await(deadline, () -> counts.of("active_tests") > 0);
    }
    channel.writeAndFlush(speech.goodbye());
    counts.await(deadline, () -> counts.of("terminated") > 0);

    System.out.printf(
        "{\"connected\":true,\"submitted\":%d,%s,%s,%s,%s,\"terminated\":%b}%n",
        submitted,
        counts.byCode("results"),
        counts.byCode("reports"),
        counts.said(),
        counts.total("active_tests"),
        counts.of("terminated") > 0);
    System.exit(0);
  }
}
