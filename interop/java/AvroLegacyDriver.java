import com.cloudera.flume.handlers.avro.AvroFlumeOGEvent;
import com.cloudera.flume.handlers.avro.FlumeOGEventAvroServer;
import com.cloudera.flume.handlers.avro.Priority;
import java.net.URL;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Protocol;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.ipc.HttpTransceiver;
import org.apache.avro.ipc.generic.GenericRequestor;
import org.apache.avro.ipc.specific.SpecificRequestor;

/**
 * Sends events as agents of Flume 0.9 do. Arguments: an address, and whether the protocol is Flume 1's copy ("og") or
 * the one that those agents speak ("old"), under which their server has to ask for its text.
 */
public final class AvroLegacyDriver {
  private static final List<String> PRIORITIES = Arrays.asList("FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE");
  private static final String OLD = "{\"protocol\":\"FlumeEventAvroServer\","
      + "\"namespace\":\"com.cloudera.flume.handlers.avro\",\"types\":["
      + "{\"type\":\"enum\",\"name\":\"Priority\","
      + "\"symbols\":[\"FATAL\",\"ERROR\",\"WARN\",\"INFO\",\"DEBUG\",\"TRACE\"]},"
      + "{\"type\":\"record\",\"name\":\"AvroFlumeEvent\",\"fields\":["
      + "{\"name\":\"timestamp\",\"type\":\"long\"},{\"name\":\"priority\",\"type\":\"Priority\"},"
      + "{\"name\":\"body\",\"type\":\"bytes\"},{\"name\":\"nanos\",\"type\":\"long\"},"
      + "{\"name\":\"host\",\"type\":\"string\"},"
      + "{\"name\":\"fields\",\"type\":{\"type\":\"map\",\"values\":\"bytes\"}}]}],"
      + "\"messages\":{\"append\":{\"request\":[{\"name\":\"evt\",\"type\":\"AvroFlumeEvent\"}],"
      + "\"response\":\"null\"}}}";

  /** What differs from event to event. */
  private static final class Sent {
    final long timestamp;
    final int priority;
    final String body;
    final long nanos;
    final String host;
    final String[] fields;

    Sent(long timestamp, int priority, String body, long nanos, String host, String... fields) {
      this.timestamp = timestamp;
      this.priority = priority;
      this.body = body;
      this.nanos = nanos;
      this.host = host;
      this.fields = fields;
    }
  }

  private static final Sent[] EVENTS = {
    new Sent(1, 3, "plain", 0, "mill"),
    new Sent(0, 0, "fatal", 1, "mill", "k", "value"),
    new Sent(-1, 1, "before 1970", -7, "mill", "empty", ""),
    new Sent(Long.MAX_VALUE, 2, "late", Long.MIN_VALUE, "mill", "w\u00f6rt", "gr\u00fcn \uD83C\uDF0A"),
    new Sent(1322000000000L, 4, "gr\u00fcn \uD83C\uDF0A", 123456789L, "m\u00fchle.example.org"),
    new Sent(5, 5, "", 5, ""),
    new Sent(6, 3, "overridden", 6, "mill", "host", "other"),
    new Sent(7, 3, "og", 7, "mill", "FlumeOG", "no"),
    new Sent(8, 3, "x".repeat(20_000), 8, "mill", "long", "y".repeat(9_000)),
  };

  public static void main(String[] arguments) throws Exception {
    HttpTransceiver http = new HttpTransceiver(new URL("http://" + arguments[0] + "/"));
    if (arguments[1].equals("og")) {
      FlumeOGEventAvroServer client = SpecificRequestor.getClient(FlumeOGEventAvroServer.class, http);
      for (Sent sent : EVENTS) {
        client.append(AvroFlumeOGEvent.newBuilder()
            .setTimestamp(sent.timestamp)
            .setPriority(Priority.valueOf(PRIORITIES.get(sent.priority)))
            .setBody(bytes(sent.body))
            .setNanos(sent.nanos)
            .setHost(sent.host)
            .setFields(fields(sent))
            .build());
      }
      return;
    }
    Protocol old = Protocol.parse(OLD);
    GenericRequestor client = new GenericRequestor(old, http);
    Schema schema = old.getType("com.cloudera.flume.handlers.avro.AvroFlumeEvent");
    Schema priority = old.getType("com.cloudera.flume.handlers.avro.Priority");
    for (Sent sent : EVENTS) {
      GenericData.Record event = new GenericData.Record(schema);
      event.put("timestamp", sent.timestamp);
      event.put("priority", new GenericData.EnumSymbol(priority, PRIORITIES.get(sent.priority)));
      event.put("body", bytes(sent.body));
      event.put("nanos", sent.nanos);
      event.put("host", sent.host);
      event.put("fields", fields(sent));
      GenericData.Record call = new GenericData.Record(old.getMessages().get("append").getRequest());
      call.put("evt", event);
      client.request("append", call);
    }
  }

  private static Map<CharSequence, ByteBuffer> fields(Sent sent) {
    Map<CharSequence, ByteBuffer> fields = new HashMap<>();
    for (int at = 0; at < sent.fields.length; at += 2) {
      fields.put(sent.fields[at], bytes(sent.fields[at + 1]));
    }
    return fields;
  }

  private static ByteBuffer bytes(String text) {
    return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
  }
}
