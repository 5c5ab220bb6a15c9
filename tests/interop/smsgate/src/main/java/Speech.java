import com.zx.sms.BaseMessage;
import com.zx.sms.connect.manager.EndpointEntity;
import java.util.List;

/** What one protocol calls things in SMSGate's library; `null` says that a message is something else. */
interface Speech {
  /** What a subscriber or the carrier says to a sender: `stat` of a report, or else the `text` of a reply. */
  record Delivery(String stat, String text, List<BaseMessage> answers) {}

  /** A submit as a carrier reads it; `id` is what its answer and its report name it by. */
  record Submission(String from, String to, boolean wantsReport, Object id, BaseMessage message) {}

  EndpointEntity client(Options options, int port);

  /** A listener's end of the one account that it lets in. */
  EndpointEntity child(Options options);

  EndpointEntity server(EndpointEntity child, int port);

  /** The first of the library's own handlers that keep a message to themselves. */
  String firstHandler();

  BaseMessage submit(String account, String from, String to, String text);

  /** SGIP has none: it says `null`. */
  BaseMessage heartbeat();

  boolean isHeartbeatAnswer(Object message);

  BaseMessage goodbye();

  boolean isGoodbye(Object message);

  boolean isGoodbyeAnswer(Object message);

  /** The code in the answer to a submit. */
  Integer result(Object message);

  Delivery delivery(Object message);

  Submission submission(Object message);

  BaseMessage answer(Submission submission, int result);

  BaseMessage report(Submission submission, String stat, String minute);

  BaseMessage reply(Submission submission, String text);

  /** What the sender was told with the report or reply that it answers here. */
  default Delivery answered(Object message) {
    return message instanceof BaseMessage answer && answer.isResponse() && answer.getRequest() != null
        ? delivery(answer.getRequest())
        : null;
  }

  static Speech of(String protocol) {
    return switch (protocol) {
      case "cmpp" -> new Cmpp();
      case "smgp" -> new Smgp();
      case "smpp" -> new Smpp();
      case "sgip" -> new Sgip();
      default -> throw new IllegalArgumentException(protocol);
    };
  }
}
