import com.zx.sms.BaseMessage;
import com.zx.sms.codec.smpp.Address;
import com.zx.sms.codec.smpp.msg.BaseSm;
import com.zx.sms.codec.smpp.msg.DeliverSm;
import com.zx.sms.codec.smpp.msg.DeliverSmReceipt;
import com.zx.sms.codec.smpp.msg.EnquireLink;
import com.zx.sms.codec.smpp.msg.EnquireLinkResp;
import com.zx.sms.codec.smpp.msg.SubmitSm;
import com.zx.sms.codec.smpp.msg.SubmitSmResp;
import com.zx.sms.codec.smpp.msg.Unbind;
import com.zx.sms.codec.smpp.msg.UnbindResp;
import com.zx.sms.connect.manager.EndpointEntity;
import com.zx.sms.connect.manager.smpp.SMPPClientEndpointEntity;
import com.zx.sms.connect.manager.smpp.SMPPEndpointEntity;
import com.zx.sms.connect.manager.smpp.SMPPServerChildEndpointEntity;
import com.zx.sms.connect.manager.smpp.SMPPServerEndpointEntity;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/** SMPP 3.4. */
final class Smpp implements Speech {
  private final AtomicInteger ids = new AtomicInteger(1_000_000);

  private static <E extends SMPPEndpointEntity> E logged(E end, Options options) {
    end.setSystemId(options.text("account"));
    end.setPassword(options.text("secret"));
    end.setInterfaceVersion((byte) options.version());
    return Ends.common(end);
  }

  @Override
  public EndpointEntity client(Options options, int port) {
    return Ends.at(logged(new SMPPClientEndpointEntity(), options), "client", port);
  }

  @Override
  public EndpointEntity child(Options options) {
    return logged(new SMPPServerChildEndpointEntity(), options);
  }

  @Override
  public EndpointEntity server(EndpointEntity child, int port) {
    SMPPServerEndpointEntity server = Ends.at(new SMPPServerEndpointEntity(), "server", port);
    server.addchild(child);
    return server;
  }

  @Override
  public String firstHandler() {
    return "EnquireLinkMessageHandler";
  }

  private static <M extends BaseSm<?>> M between(M message, String from, String to) {
    message.setSourceAddress(new Address((byte) 0, (byte) 0, from));
    message.setDestAddress(new Address((byte) 1, (byte) 1, to));
    return message;
  }

  @Override
  public BaseMessage submit(String account, String from, String to, String text) {
    SubmitSm message = between(new SubmitSm(), from, to);
    message.setRegisteredDelivery((byte) 1);
    message.setSmsMsg(text);
    return message;
  }

  @Override
  public BaseMessage heartbeat() {
    return new EnquireLink();
  }

  @Override
  public boolean isHeartbeatAnswer(Object message) {
    return message instanceof EnquireLinkResp;
  }

  @Override
  public BaseMessage goodbye() {
    return new Unbind();
  }

  @Override
  public boolean isGoodbye(Object message) {
    return message instanceof Unbind;
  }

  @Override
  public boolean isGoodbyeAnswer(Object message) {
    return message instanceof UnbindResp;
  }

  @Override
  public Integer result(Object message) {
    return message instanceof SubmitSmResp answer ? answer.getCommandStatus() : null;
  }

  @Override
  public Delivery delivery(Object message) {
    if (!(message instanceof DeliverSm deliver)) {
      return null;
    }
    List<BaseMessage> answers = new ArrayList<>(List.of(deliver.createResponse()));
    if (deliver.getFragments() != null) {
      deliver.getFragments().forEach(part -> answers.add(part.createResponse()));
    }
    return deliver instanceof DeliverSmReceipt receipt
        ? new Delivery(receipt.getStat(), null, answers)
        : new Delivery(null, deliver.getMsgContent(), answers);
  }

  @Override
  public Submission submission(Object message) {
    return message instanceof SubmitSm submit
        ? new Submission(
            submit.getSourceAddress().getAddress(),
            submit.getDestAddress().getAddress(),
            submit.getRegisteredDelivery() == 1,
            Integer.toHexString(ids.incrementAndGet()),
            submit)
        : null;
  }

  @Override
  public BaseMessage answer(Submission submission, int result) {
    SubmitSmResp answer = ((SubmitSm) submission.message()).createResponse();
    answer.setMessageId((String) submission.id());
    answer.setCommandStatus(result);
    return answer;
  }

  @Override
  public BaseMessage report(Submission submission, String stat, String minute) {
    DeliverSmReceipt receipt = between(new DeliverSmReceipt(), submission.to(), submission.from());
    receipt.setId((String) submission.id());
    receipt.setSub("001");
    receipt.setDlvrd("001");
    receipt.setSubmit_date(minute);
    receipt.setDone_date(minute);
    receipt.setStat(stat);
    receipt.setErr("000");
    return receipt;
  }

  @Override
  public BaseMessage reply(Submission submission, String text) {
    DeliverSm deliver = between(new DeliverSm(), submission.to(), submission.from());
    deliver.setSmsMsg(text);
    return deliver;
  }
}
