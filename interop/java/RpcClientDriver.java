import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Sends numbered events with Flume's client: the first by append, the rest by appendBatch. Arguments: properties of the client
 * as key=value, then "--", then how many events. Each has its number as body and a header "n" of the same.
 */
public final class RpcClientDriver {
  public static void main(String[] arguments) throws Exception {
    Properties properties = new Properties();
    int at = 0;
    for (; !arguments[at].equals("--"); at++) {
      int equals = arguments[at].indexOf('=');
      properties.setProperty(arguments[at].substring(0, equals), arguments[at].substring(equals + 1));
    }
    int count = Integer.parseInt(arguments[at + 1]);
    RpcClient client = RpcClientFactory.getInstance(properties);
    client.append(event(0));
    List<Event> batch = new ArrayList<>();
    for (int n = 1; n < count; n++) {
      batch.add(event(n));
      if (batch.size() == client.getBatchSize() || n == count - 1) {
        client.appendBatch(batch);
        batch.clear();
      }
    }
    client.close();
    System.exit(0);
  }

  private static Event event(int n) {
    String text = Integer.toString(n);
    return EventBuilder.withBody(text, StandardCharsets.UTF_8, Map.of("n", text));
  }
}
