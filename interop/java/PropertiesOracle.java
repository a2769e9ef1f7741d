import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Properties;

/**
 * Answers how java.util.Properties reads a text. Each line of the standard input is a properties file in
 * hexadecimal digits; each answer is one line: "ok" and then every assignment in the order in which it was made, a
 * tab before each key and each value, or "error", a tab and the exception. Everything but printable ASCII is
 * written as a backslash, u and four digits per UTF-16 unit, and so are backslashes.
 */
public final class PropertiesOracle {
  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(answer(HexFormat.of().parseHex(line)));
    }
  }

  private static String answer(byte[] file) throws Exception {
    StringBuilder said = new StringBuilder("ok");
    Properties properties = new Properties() {
      @Override
      public synchronized Object put(Object key, Object value) {
        said.append('\t').append(escaped((String) key)).append('\t').append(escaped((String) value));
        return super.put(key, value);
      }
    };
    try {
      properties.load(new ByteArrayInputStream(file));
    } catch (IllegalArgumentException refused) {
      return "error\t" + escaped(refused.getMessage());
    }
    return said.toString();
  }

  private static String escaped(String text) {
    StringBuilder shown = new StringBuilder();
    for (char unit : text.toCharArray()) {
      if (unit >= ' ' && unit <= '~' && unit != '\\') {
        shown.append(unit);
      } else {
        shown.append(String.format("\\u%04x", (int) unit));
      }
    }
    return shown.toString();
  }
}
