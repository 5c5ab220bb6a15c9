import com.zx.sms.BaseMessage;
import com.zx.sms.codec.sgip12.msg.SgipDeliverRequestMessage;
import com.zx.sms.codec.sgip12.msg.SgipDeliverResponseMessage;
import com.zx.sms.codec.sgip12.msg.SgipReportRequestMessage;
import com.zx.sms.codec.sgip12.msg.SgipReportResponseMessage;
import com.zx.sms.codec.sgip12.msg.SgipSubmitRequestMessage;
import com.zx.sms.codec.sgip12.msg.SgipSubmitResponseMessage;
import com.zx.sms.codec.sgip12.msg.SgipUnbindRequestMessage;
import com.zx.sms.codec.sgip12.msg.SgipUnbindResponseMessage;
import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.sgip.SgipClientEndpointEntity;
import com.zx.sms.connect.manager.sgip.SgipEndpointEntity;
import com.zx.sms.connect.manager.sgip.SgipServerChildEndpointEntity;
import com.zx.sms.connect.manager.sgip.SgipServerEndpointEntity;
import java.util.ArrayList;
import java.util.List;

/** SGIP 1.2, over one connection that goes both ways or over two. There is no heartbeat. */
final class Sgip implements Speech {
  private static <E extends SgipEndpointEntity> E logged(E end, Options options, long node) {
    end.setLoginName(options.text("account"));
    end.setLoginPassowrd(options.text("secret"));
    end.setNodeId(node);
    return Ends.common(end);
  }

  @Override
  public EndpointEntity client(Options options, int port) {
    return Ends.at(logged(new SgipClientEndpointEntity(), options, 3_057_100_001L), "client", port);
  }

  @Override
  public EndpointEntity child(Options options) {
    return logged(new SgipServerChildEndpointEntity(), options, 105_711L);
  }

  @Override
  public EndpointEntity server(EndpointEntity child, int port) {
    SgipServerEndpointEntity server = Ends.at(new SgipServerEndpointEntity(), "server", port);
    server.addchild(child);
    return server;
  }

  @Override
  public String firstHandler() {
    return "SgipUnbindResponseMessageHandler";
  }

  @Override
  public BaseMessage submit(String account, String from, String to, String text) {
    SgipSubmitRequestMessage message = new SgipSubmitRequestMessage();
    message.setSpnumber(from);
    message.setUsernumber("86" + to);
    message.setMsgContent(text);
    message.setReportflag((short) 1);
    return message;
  }

  @Override
  public BaseMessage heartbeat() {
    return null;
  }

  @Override
  public boolean isHeartbeatAnswer(Object message) {
    return false;
  }

  @Override
  public BaseMessage goodbye() {
    return new SgipUnbindRequestMessage();
  }

  @Override
  public boolean isGoodbye(Object message) {
    return message instanceof SgipUnbindRequestMessage;
  }

  @Override
  public boolean isGoodbyeAnswer(Object message) {
    return message instanceof SgipUnbindResponseMessage;
  }

  @Override
  public Integer result(Object message) {
    return message instanceof SgipSubmitResponseMessage answer ? (int) answer.getResult() : null;
  }

  /** The state of a report, 0 or not, stands for what other protocols say in a word. */
  @Override
  public Delivery delivery(Object message) {
    if (message instanceof SgipReportRequestMessage report) {
      SgipReportResponseMessage answer = new SgipReportResponseMessage(report.getHeader());
      answer.setResult((short) 0);
      answer.setTimestamp(report.getTimestamp());
      return new Delivery(report.getState() == 0 ? "DELIVRD" : "REJECTD", null, List.of(answer));
    }
    if (!(message instanceof SgipDeliverRequestMessage deliver)) {
      return null;
    }
    List<SgipDeliverRequestMessage> parts = new ArrayList<>(List.of(deliver));
    if (deliver.getFragments() != null) {
      parts.addAll(deliver.getFragments());
    }
    List<BaseMessage> answers = new ArrayList<>();
    for (SgipDeliverRequestMessage part : parts) {
      SgipDeliverResponseMessage answer = new SgipDeliverResponseMessage(part.getHeader());
      answer.setResult((short) 0);
      answer.setTimestamp(part.getTimestamp());
      answers.add(answer);
    }
    return new Delivery(null, deliver.getMsgContent(), answers);
  }

  @Override
  public Submission submission(Object message) {
    return message instanceof SgipSubmitRequestMessage submit
        ? new Submission(
            submit.getSpnumber(), submit.getUsernumber()[0], submit.getReportflag() == 1, submit.getSequenceNumber(),
            submit)
        : null;
  }

  @Override
  public BaseMessage answer(Submission submission, int result) {
    SgipSubmitRequestMessage submit = (SgipSubmitRequestMessage) submission.message();
    SgipSubmitResponseMessage answer = new SgipSubmitResponseMessage(submit.getHeader());
    answer.setResult((short) result);
    answer.setTimestamp(submit.getTimestamp());
    return answer;
  }

  @Override
  public BaseMessage report(Submission submission, String stat, String minute) {
    SgipReportRequestMessage report = new SgipReportRequestMessage();
    report.setSequenceId(((SgipSubmitRequestMessage) submission.message()).getSequenceNumber());
    report.setReporttype((short) 0);
    report.setUsernumber(submission.to());
    report.setState((short) 0);
    report.setErrorcode((short) 0);
    return report;
  }

  @Override
  public BaseMessage reply(Submission submission, String text) {
    SgipDeliverRequestMessage deliver = new SgipDeliverRequestMessage();
    deliver.setUsernumber(submission.to());
    deliver.setSpnumber(submission.from());
    deliver.setMsgContent(text);
    return deliver;
  }
}
