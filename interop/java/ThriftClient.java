import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Sends events by Flume's own Thrift client. Arguments: how many threads, how many events each, how many of them in a
 * list, and the client's properties as key=value. Event 0 of each thread goes out alone, by "append".
 */
public final class ThriftClient {
  public static void main(String[] arguments) throws Exception {
    int threads = Integer.parseInt(arguments[0]);
    int events = Integer.parseInt(arguments[1]);
    int together = Integer.parseInt(arguments[2]);
    Properties properties = new Properties();
    for (int at = 3; at < arguments.length; at++) {
      properties.load(new StringReader(arguments[at]));
    }
    RpcClient client = RpcClientFactory.getInstance(properties);
    List<Thread> running = new ArrayList<>();
    List<Throwable> failures = new ArrayList<>();
    for (int number = 0; number < threads; number++) {
      int thread = number;
      Thread sender = new Thread(() -> send(client, thread, events, together));
      sender.setUncaughtExceptionHandler((which, failure) -> {
        synchronized (failures) {
          failures.add(failure);
        }
      });
      sender.start();
      running.add(sender);
    }
    for (Thread sender : running) {
      sender.join();
    }
    client.close();
    for (Throwable failure : failures) {
      failure.printStackTrace();
    }
    System.out.println(failures.isEmpty() ? "sent" : "failed");
    System.exit(0);
  }

  private static void send(RpcClient client, int thread, int events, int together) {
    try {
      client.append(event(thread, 0));
      for (int first = 1; first < events; first += together) {
        List<Event> list = new ArrayList<>();
        for (int number = first; number < Math.min(first + together, events); number++) {
          list.add(event(thread, number));
        }
        client.appendBatch(list);
      }
    } catch (Exception failed) {
      throw new IllegalStateException(failed);
    }
  }

  /** Headers of several kinds: none, one, empty ones, long ones and some beyond ASCII. */
  private static Event event(int thread, int number) {
    Map<String, String> headers = new HashMap<>();
    if (number % 4 > 0) {
      headers.put("thread", Integer.toString(thread));
    }
    if (number % 4 > 1) {
      headers.put("empty", "");
    }
    if (number % 4 > 2) {
      headers.put("long", "x".repeat(200));
      headers.put("wörter", "grün \uD83C\uDF0A");
    }
    String body = number % 50 == 7 ? "y".repeat(5000) + number : thread + " " + number;
    return EventBuilder.withBody(body.getBytes(StandardCharsets.UTF_8), headers);
  }
}
