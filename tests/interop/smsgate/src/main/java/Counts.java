import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;

/** What an end has seen, by name; a name may have cases of its own (results by code). Shared by threads. */
final class Counts {
  private final Map<String, Map<String, Integer>> cases = new TreeMap<>();
  private final List<String> replies = new CopyOnWriteArrayList<>();

  synchronized void one(String name, Object which) {
    cases.computeIfAbsent(name, fresh -> new TreeMap<>()).merge(String.valueOf(which), 1, Integer::sum);
    notifyAll();
  }

  void one(String name) {
    one(name, "");
  }

  void reply(String text) {
    replies.add(text);
    one("heard");
  }

  synchronized int of(String name) {
    return cases.getOrDefault(name, Map.of()).values().stream().mapToInt(n -> n).sum();
  }

  synchronized int of(String name, Object which) {
    return cases.getOrDefault(name, Map.of()).getOrDefault(String.valueOf(which), 0);
  }

  /** Waits until it holds, at most until `deadline` by System.nanoTime; whether it does. */
  synchronized boolean await(long deadline, BooleanSupplier condition) throws InterruptedException {
    while (!condition.getAsBoolean()) {
      long milliseconds = (deadline - System.nanoTime()) / 1_000_000;
      if (milliseconds <= 0) {
        return false;
      }
      wait(milliseconds);
    }
    return true;
  }

  /** `"name":{"code":n,…}` */
  synchronized String byCode(String name) {
    return cases.getOrDefault(name, Map.of()).entrySet().stream()
        .map(entry -> "\"" + entry.getKey() + "\":" + entry.getValue())
        .collect(Collectors.joining(",", "\"" + name + "\":{", "}"));
  }

  String total(String name) {
    return "\"" + name + "\":" + of(name);
  }

  String said() {
    return replies.stream()
        .map(text -> "\"" + text + "\"")
        .collect(Collectors.joining(",", "\"replies\":[", "]"));
  }
}
