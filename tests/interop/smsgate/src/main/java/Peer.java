import com.zx.sms.codec.cmpp.msg.CmppActiveTestRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppActiveTestResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppDeliverRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppDeliverResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppSubmitRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppSubmitResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppTerminateRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppTerminateResponseMessage;
import com.zx.sms.connect.manager.EndpointManager;
import com.zx.sms.connect.manager.cmpp.CMPPClientEndpointEntity;
import com.zx.sms.handler.api.AbstractBusinessHandler;
import com.zx.sms.session.cmpp.SessionState;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;

/**
 * A CMPP sender made of SMSGate's library: connects, submits (every third one from a number that is to be refused), waits
 * for answers, reports and replies, tests the link, terminates, and prints one JSON line. The arguments and the line are
 * those of every peer in tests/interop: see test_cmpp_peers.py.
 */
public final class Peer {
  private static final CompletableFuture<Channel> CONNECTED = new CompletableFuture<>();
  private static final Map<String, Integer> RESULTS = new TreeMap<>();
  private static final Map<String, Integer> REPORTS = new TreeMap<>();
  private static final ConcurrentLinkedQueue<String> REPLIES = new ConcurrentLinkedQueue<>();
  private static final Semaphore WINDOW = new Semaphore(16);
  private static final AtomicInteger ANSWERED = new AtomicInteger();
  private static final AtomicInteger ACCEPTED = new AtomicInteger();
  private static final AtomicInteger REPORTED = new AtomicInteger();
  private static final AtomicInteger ACTIVE_TESTS = new AtomicInteger();
  private static final AtomicBoolean TERMINATED = new AtomicBoolean();

  /** Counts what comes in, ahead of the library's own handlers that keep some of it to themselves. */
  private static final class Counter extends ChannelInboundHandlerAdapter {
    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
      if (message instanceof CmppSubmitResponseMessage) {
        long result = ((CmppSubmitResponseMessage) message).getResult();
        synchronized (RESULTS) {
          RESULTS.merge(Long.toString(result), 1, Integer::sum);
        }
        if (result == 0) {
          ACCEPTED.incrementAndGet();
        }
        ANSWERED.incrementAndGet();
        WINDOW.release();
      } else if (message instanceof CmppActiveTestResponseMessage) {
        ACTIVE_TESTS.incrementAndGet();
      } else if (message instanceof CmppTerminateResponseMessage) {
        TERMINATED.set(true);
      }
      context.fireChannelRead(message);
    }
  }

  /** Answers reports and replies, as a sender's own code would. */
  public static final class Business extends AbstractBusinessHandler {
    @Override
    public String name() {
      return "zhengming-peer";
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) throws Exception {
      if (event == SessionState.Connect) {
        context.pipeline().addBefore("CmppActiveTestRequestMessageHandler", "counter", new Counter());
        CONNECTED.complete(context.channel());
      }
      context.fireUserEventTriggered(event);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
      if (!(message instanceof CmppDeliverRequestMessage)) {
        return;
      }
      CmppDeliverRequestMessage deliver = (CmppDeliverRequestMessage) message;
      answer(context, deliver);
      if (deliver.getFragments() != null) {
        for (CmppDeliverRequestMessage part : deliver.getFragments()) {
          answer(context, part);
        }
      }
      if (deliver.isReport()) {
        synchronized (REPORTS) {
          REPORTS.merge(deliver.getReportRequestMessage().getStat(), 1, Integer::sum);
        }
        REPORTED.incrementAndGet();
      } else {
        REPLIES.add(deliver.getMsgContent());
      }
    }

    /** Each part of a long reply by itself, as the library's manual says: it joins them, and answers none. */
    private static void answer(ChannelHandlerContext context, CmppDeliverRequestMessage deliver) {
      CmppDeliverResponseMessage answer = new CmppDeliverResponseMessage(deliver.getHeader().getSequenceId());
      answer.setResult(0);
      answer.setMsgId(deliver.getMsgId());
      context.channel().writeAndFlush(answer);
    }
  }

  private static boolean await(long deadline, BooleanSupplier condition) throws InterruptedException {
    while (!condition.getAsBoolean() && System.nanoTime() < deadline) {
      Thread.sleep(5);
    }
    return condition.getAsBoolean();
  }

  private static String object(Map<String, Integer> counts) {
    return counts.entrySet().stream()
        .map(entry -> "\"" + entry.getKey() + "\":" + entry.getValue())
        .collect(Collectors.joining(",", "{", "}"));
  }

  private static CmppSubmitRequestMessage submit(String account, String from, String to, String text) {
    CmppSubmitRequestMessage message = CmppSubmitRequestMessage.create(to, from, text);
    message.setMsgsrc(account);
    message.setServiceId("SVC");
    message.setRegisteredDelivery((short) 1);
    message.setFeeType("01");
    message.setFeeCode("0");
    return message;
  }

  public static void main(String[] words) throws Exception {
    Map<String, String> options = new HashMap<>();
    for (int i = 0; i + 1 < words.length; i += 2) {
      options.put(words[i].replaceFirst("^-+", ""), words[i + 1]);
    }
    String account = options.get("account");
    int messages = Integer.parseInt(options.getOrDefault("messages", "30"));
    int answers = messages * Integer.parseInt(options.getOrDefault("parts", "1"));
    int replies = Integer.parseInt(options.getOrDefault("replies", "0"));
    long deadline =
        System.nanoTime() + TimeUnit.SECONDS.toNanos(Long.parseLong(options.getOrDefault("seconds", "30")));

    CMPPClientEndpointEntity client = new CMPPClientEndpointEntity();
    client.setId("peer");
    client.setHost(options.getOrDefault("host", "127.0.0.1"));
    client.setPort(Integer.parseInt(options.get("port")));
    client.setChartset(StandardCharsets.UTF_8);
    client.setGroupName("peer");
    client.setUserName(account);
    client.setPassword(options.get("secret"));
    client.setSpCode("");
    client.setVersion(Short.parseShort(options.getOrDefault("version", "20"), 16));
    client.setMaxChannels((short) 1);
    client.setWindow(16);
    client.setReSendFailMsg(false);
    client.setUseSSL(false);
    client.setBusinessHandlerSet(List.of(new Business()));
    EndpointManager.INS.addEndpointEntity(client);
    EndpointManager.INS.openEndpoint(client);

    Channel channel = CONNECTED.get(10, TimeUnit.SECONDS);
    int submitted = 0;
    while (submitted < messages && WINDOW.tryAcquire(10, TimeUnit.SECONDS)) {
      String from = options.get(submitted % 3 == 2 ? "refused-from" : "from");
      String to = String.format("1380000%04d", submitted);
      channel.writeAndFlush(submit(account, from, to, options.get("text")));
      submitted++;
    }
    await(
        deadline,
        () -> ANSWERED.get() == answers && REPORTED.get() == ACCEPTED.get() && REPLIES.size() >= replies);
    channel.writeAndFlush(new CmppActiveTestRequestMessage());
    await(deadline, () -> ACTIVE_TESTS.get() > 0);
    channel.writeAndFlush(new CmppTerminateRequestMessage());
    await(deadline, TERMINATED::get);

    System.out.printf(
        "{\"connected\":true,\"submitted\":%d,\"results\":%s,\"reports\":%s,\"replies\":[%s],"
            + "\"active_tests\":%d,\"terminated\":%b}%n",
        submitted,
        object(RESULTS),
        object(REPORTS),
        REPLIES.stream().map(text -> "\"" + text + "\"").collect(Collectors.joining(",")),
        ACTIVE_TESTS.get(),
        TERMINATED.get());
    System.exit(0);
  }
}
