/**
 * A sender or a carrier's end made of SMSGate's library, in any of its four protocols. The arguments, and the JSON line
 * that it prints at its end, are those of every peer in tests/interop: see peers.py.
 */
public final class Peer {
  public static void main(String[] words) throws Exception {
    Options options = new Options(words);
    if ("carrier".equals(options.text("end"))) {
      Carrier.run(options);
    } else {
      Sender.run(options);
    }
  }
}
