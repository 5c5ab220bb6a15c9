import com.zx.sms.handler.api.AbstractBusinessHandler;
import com.zx.sms.session.cmpp.SessionState;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.util.function.Consumer;

/** One end's own code: told of each login, and of each message twice: as it comes, and when the library is done with it. */
@Sharable
final class Business extends AbstractBusinessHandler {
  interface Heard {
    void message(Channel channel, Object message);
  }

  private final String firstHandler;
  private final Consumer<Channel> connected;
  private final Heard first;
  private final Heard last;

  Business(String firstHandler, Consumer<Channel> connected, Heard first, Heard last) {
    this.firstHandler = firstHandler;
    this.connected = connected;
    this.first = first;
    this.last = last;
  }

  @Override
  public String name() {
    return "zhengming-peer";
  }

  @Override
  public void userEventTriggered(ChannelHandlerContext context, Object event) throws Exception {
    if (event == SessionState.Connect) {
      context.pipeline().addBefore(firstHandler, "counter", new ChannelInboundHandlerAdapter() {
        @Override
        public void channelRead(ChannelHandlerContext before, Object message) {
          first.message(before.channel(), message);
          before.fireChannelRead(message);
        }
      });
      connected.accept(context.channel());
    }
    context.fireUserEventTriggered(event);
  }

  @Override
  public void channelRead(ChannelHandlerContext context, Object message) {
    last.message(context.channel(), message);
  }
}
