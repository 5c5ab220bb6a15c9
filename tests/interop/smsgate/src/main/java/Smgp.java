import com.zx.sms.BaseMessage;
import com.zx.sms.codec.smgp.msg.MsgId;
import com.zx.sms.codec.smgp.msg.SMGPActiveTestMessage;
import com.zx.sms.codec.smgp.msg.SMGPActiveTestRespMessage;
import com.zx.sms.codec.smgp.msg.SMGPDeliverMessage;
import com.zx.sms.codec.smgp.msg.SMGPDeliverRespMessage;
import com.zx.sms.codec.smgp.msg.SMGPExitMessage;
import com.zx.sms.codec.smgp.msg.SMGPExitRespMessage;
import com.zx.sms.codec.smgp.msg.SMGPReportData;
import com.zx.sms.codec.smgp.msg.SMGPSubmitMessage;
import com.zx.sms.codec.smgp.msg.SMGPSubmitRespMessage;
import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.smgp.SMGPClientEndpointEntity;
import com.zx.sms.connect.manager.smgp.SMGPEndpointEntity;
import com.zx.sms.connect.manager.smgp.SMGPServerChildEndpointEntity;
import com.zx.sms.connect.manager.smgp.SMGPServerEndpointEntity;
import java.util.ArrayList;
import java.util.List;

/** SMGP 1.3 and 3.0. */
final class Smgp implements Speech {
  private static <E extends SMGPEndpointEntity> E logged(E end, Options options) {
    end.setClientID(options.text("account"));
    end.setPassword(options.text("secret"));
    end.setClientVersion((byte) options.version());
    return Ends.common(end);
  }

  @Override
  public EndpointEntity client(Options options, int port) {
    return Ends.at(logged(new SMGPClientEndpointEntity(), options), "client", port);
  }

  @Override
  public EndpointEntity child(Options options) {
    return logged(new SMGPServerChildEndpointEntity(), options);
  }

  @Override
  public EndpointEntity server(EndpointEntity child, int port) {
    SMGPServerEndpointEntity server = Ends.at(new SMGPServerEndpointEntity(), "server", port);
    server.addchild(child);
    return server;
  }

  @Override
  public String firstHandler() {
    return "SMGPActiveTestMessageHandler";
  }

  @Override
  public BaseMessage submit(String account, String from, String to, String text) {
    SMGPSubmitMessage message = new SMGPSubmitMessage();
    message.setServiceId("SVC");
    message.setSrcTermId(from);
    message.setDestTermIdArray(to);
    message.setMsgContent(text);
    message.setNeedReport(true);
    return message;
  }

  @Override
  public BaseMessage heartbeat() {
    return new SMGPActiveTestMessage();
  }

  @Override
  public boolean isHeartbeatAnswer(Object message) {
    return message instanceof SMGPActiveTestRespMessage;
  }

  @Override
  public BaseMessage goodbye() {
    return new SMGPExitMessage();
  }

  @Override
  public boolean isGoodbye(Object message) {
    return message instanceof SMGPExitMessage;
  }

  @Override
  public boolean isGoodbyeAnswer(Object message) {
    return message instanceof SMGPExitRespMessage;
  }

  @Override
  public Integer result(Object message) {
    return message instanceof SMGPSubmitRespMessage answer ? answer.getStatus() : null;
  }

  @Override
  public Delivery delivery(Object message) {
    if (!(message instanceof SMGPDeliverMessage deliver)) {
      return null;
    }
    List<SMGPDeliverMessage> parts = new ArrayList<>(List.of(deliver));
    if (deliver.getFragments() != null) {
      parts.addAll(deliver.getFragments());
    }
    List<BaseMessage> answers = new ArrayList<>();
    for (SMGPDeliverMessage part : parts) {
      SMGPDeliverRespMessage answer = new SMGPDeliverRespMessage();
      answer.setSequenceNo(part.getSequenceNo());
      answer.setMsgId(part.getMsgId());
      answer.setStatus(0);
      answers.add(answer);
    }
    return deliver.isReport()
        ? new Delivery(deliver.getReport().getStat(), null, answers)
        : new Delivery(null, deliver.getMsgContent(), answers);
  }

  @Override
  public Submission submission(Object message) {
    return message instanceof SMGPSubmitMessage submit
        ? new Submission(
            submit.getSrcTermId(), submit.getDestTermIdArray()[0], submit.isNeedReport(), new MsgId(), submit)
        : null;
  }

  @Override
  public BaseMessage answer(Submission submission, int result) {
    SMGPSubmitRespMessage answer = new SMGPSubmitRespMessage();
    answer.setSequenceNo(submission.message().getSequenceNo());
    answer.setMsgId((MsgId) submission.id());
    answer.setStatus(result);
    return answer;
  }

  @Override
  public BaseMessage report(Submission submission, String stat, String minute) {
    SMGPReportData report = new SMGPReportData();
    report.setMsgId((MsgId) submission.id());
    report.setStat(stat);
    report.setSubTime(minute);
    report.setDoneTime(minute);
    report.setErr("000");
    SMGPDeliverMessage deliver = new SMGPDeliverMessage();
    deliver.setSrcTermId(submission.to());
    deliver.setDestTermId(submission.from());
    deliver.setReport(report);
    return deliver;
  }

  @Override
  public BaseMessage reply(Submission submission, String text) {
    SMGPDeliverMessage deliver = new SMGPDeliverMessage();
    deliver.setSrcTermId(submission.to());
    deliver.setDestTermId(submission.from());
    deliver.setMsgContent(text);
    return deliver;
  }
}
