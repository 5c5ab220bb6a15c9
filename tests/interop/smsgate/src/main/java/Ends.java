import com.zx.sms.connect.manager.EndpointEntity;

/** What the ends of all protocols have in common. */
final class Ends {
  /** Each message once: what is not answered or refused is not sent again. */
  static <E extends EndpointEntity> E common(E end) {
    end.setId("child");
    end.setMaxChannels((short) 1);
    end.setWindow(16);
    end.setReSendFailMsg(false);
    end.setUseSSL(false);
    return end;
  }

  static <E extends EndpointEntity> E at(E end, String name, int port) {
    end.setId(name);
    end.setHost("127.0.0.1");
    end.setPort(port);
    return end;
  }
}
