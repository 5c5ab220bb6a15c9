import com.zx.sms.BaseMessage;
import com.zx.sms.codec.cmpp.msg.CmppActiveTestRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppActiveTestResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppDeliverRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppDeliverResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppReportRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppSubmitRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppSubmitResponseMessage;
import com.zx.sms.codec.cmpp.msg.CmppTerminateRequestMessage;
import com.zx.sms.codec.cmpp.msg.CmppTerminateResponseMessage;
import com.zx.sms.common.util.MsgId;
import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.cmpp.CMPPClientEndpointEntity;
import com.zx.sms.connect.manager.cmpp.CMPPEndpointEntity;
import com.zx.sms.connect.manager.cmpp.CMPPServerChildEndpointEntity;
import com.zx.sms.connect.manager.cmpp.CMPPServerEndpointEntity;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** CMPP 2.0 and 3.0. */
final class Cmpp implements Speech {
  private static <E extends CMPPEndpointEntity> E logged(E end, Options options) {
    end.setChartset(StandardCharsets.UTF_8);
    end.setGroupName("peer");
    end.setUserName(options.text("account"));
    end.setPassword(options.text("secret"));
    end.setVersion((short) options.version());
    return Ends.common(end);
  }

  @Override
  public EndpointEntity client(Options options, int port) {
    return Ends.at(logged(new CMPPClientEndpointEntity(), options), "client", port);
  }

  @Override
  public EndpointEntity child(Options options) {
    return logged(new CMPPServerChildEndpointEntity(), options);
  }

  @Override
  public EndpointEntity server(EndpointEntity child, int port) {
    CMPPServerEndpointEntity server = Ends.at(new CMPPServerEndpointEntity(), "server", port);
    server.addchild(child);
    return server;
  }

  @Override
  public String firstHandler() {
    return "CmppActiveTestRequestMessageHandler";
  }

  @Override
  public BaseMessage submit(String account, String from, String to, String text) {
    CmppSubmitRequestMessage message = CmppSubmitRequestMessage.create(to, from, text);
    message.setMsgsrc(account);
    message.setServiceId("SVC");
    message.setRegisteredDelivery((short) 1);
    message.setFeeType("01");
    message.setFeeCode("0");
    return message;
  }

  @Override
  public BaseMessage heartbeat() {
    return new CmppActiveTestRequestMessage();
  }

  @Override
  public boolean isHeartbeatAnswer(Object message) {
    return message instanceof CmppActiveTestResponseMessage;
  }

  @Override
  public BaseMessage goodbye() {
    return new CmppTerminateRequestMessage();
  }

  @Override
  public boolean isGoodbye(Object message) {
    return message instanceof CmppTerminateRequestMessage;
  }

  @Override
  public boolean isGoodbyeAnswer(Object message) {
    return message instanceof CmppTerminateResponseMessage;
  }

  @Override
  public Integer result(Object message) {
    return message instanceof CmppSubmitResponseMessage answer ? (int) answer.getResult() : null;
  }

  /** Each part of a long reply is answered by itself, as the library's manual says: it joins them, and answers none. */
  @Override
  public Delivery delivery(Object message) {
    if (!(message instanceof CmppDeliverRequestMessage deliver)) {
      return null;
    }
    List<CmppDeliverRequestMessage> parts = new ArrayList<>(List.of(deliver));
    if (deliver.getFragments() != null) {
      parts.addAll(deliver.getFragments());
    }
    List<BaseMessage> answers = new ArrayList<>();
    for (CmppDeliverRequestMessage part : parts) {
      CmppDeliverResponseMessage answer = new CmppDeliverResponseMessage(part.getHeader().getSequenceId());
      answer.setResult(0);
      answer.setMsgId(part.getMsgId());
      answers.add(answer);
    }
    return deliver.isReport()
        ? new Delivery(deliver.getReportRequestMessage().getStat(), null, answers)
        : new Delivery(null, deliver.getMsgContent(), answers);
  }

  @Override
  public Submission submission(Object message) {
    return message instanceof CmppSubmitRequestMessage submit
        ? new Submission(
            submit.getSrcId(), submit.getDestterminalId()[0], submit.getRegisteredDelivery() == 1, new MsgId(), submit)
        : null;
  }

  @Override
  public BaseMessage answer(Submission submission, int result) {
    CmppSubmitRequestMessage submit = (CmppSubmitRequestMessage) submission.message();
    CmppSubmitResponseMessage answer = new CmppSubmitResponseMessage(submit.getHeader());
    answer.setMsgId((MsgId) submission.id());
    answer.setResult(result);
    return answer;
  }

  @Override
  public BaseMessage report(Submission submission, String stat, String minute) {
    CmppReportRequestMessage report = new CmppReportRequestMessage();
    report.setMsgId((MsgId) submission.id());
    report.setStat(stat);
    report.setSubmitTime(minute);
    report.setDoneTime(minute);
    report.setDestterminalId(submission.to());
    CmppDeliverRequestMessage deliver = new CmppDeliverRequestMessage();
    deliver.setSrcterminalId(submission.to());
    deliver.setDestId(submission.from());
    deliver.setReportRequestMessage(report);
    return deliver;
  }

  @Override
  public BaseMessage reply(Submission submission, String text) {
    CmppDeliverRequestMessage deliver = new CmppDeliverRequestMessage();
    deliver.setSrcterminalId(submission.to());
    deliver.setDestId(submission.from());
    deliver.setMsgContent(text);
    return deliver;
  }
}
