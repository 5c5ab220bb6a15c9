import java.util.HashMap;
import java.util.Map;

/** The words of the command line, by name. */
final class Options {
  private final Map<String, String> words = new HashMap<>();

  Options(String[] said) {
    for (int i = 0; i + 1 < said.length; i += 2) {
      words.put(said[i].replaceFirst("^-+", ""), said[i + 1]);
    }
  }

  String text(String name, String otherwise) {
    return words.getOrDefault(name, otherwise);
  }

  String text(String name) {
    return words.get(name);
  }

  /** These, but with another value of one. */
  Options but(String name, String value) {
    Options others = new Options(new String[0]);
    others.words.putAll(words);
    others.words.put(name, value);
    return others;
  }

  int number(String name, int otherwise) {
    return words.containsKey(name) ? Integer.parseInt(words.get(name)) : otherwise;
  }

  /** The version's octet, which is said in hexadecimal digits. */
  int version() {
    return Integer.parseInt(words.get("version"), 16);
  }
}
