import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.ConnectionFactory;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.StreamMessage;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.AppConfigurationEntry.LoginModuleControlFlag;
import org.apache.qpid.jms.JmsConnectionFactory;

/** A broker of this process, with everything in one directory. */
interface Broker {
  /** Arguments: see JmsDriver, without the first. */
  void start(String[] args) throws Exception;

  /** What its own clients connect by. */
  ConnectionFactory own(String place);

  void create(String queue) throws Exception;

  /** Messages in a queue, or in the subscription CLIENT.NAME. */
  long count(String name) throws Exception;

  /** Queues and subscriptions of an address. */
  long bound(String address) throws Exception;

  /** The queue of what was set aside. */
  String dead();

  void stop() throws Exception;

  /** Who may log in by certificate, in two files that both brokers read alike; what they call the second differs. */
  static Map<String, String> known(String dir, String groups) throws IOException {
    Files.writeString(Path.of(dir, "known"), "ada=CN=ada\n");
    Files.writeString(Path.of(dir, "groups"), "millers=ada\n");
    String users = "org.apache.activemq.jaas.textfiledn.user";
    return Map.of("baseDir", dir, users, "known", groups, "groups");
  }

  static AppConfigurationEntry[] by(Class<?> module, Map<String, String> options) {
    return new AppConfigurationEntry[] {
      new AppConfigurationEntry(module.getName(), LoginModuleControlFlag.REQUIRED, options)
    };
  }
}

/**
 * A broker in one process, and two JMS clients to send with: its own and Qpid's, which speaks AMQP. Arguments: the class
 * of the broker, a directory for its data, a port of 127.0.0.1 for AMQP and the protocol of its own clients, a port for
 * AMQP over TLS, another one for clients with certificates only, and, where these two are to be
 * there, the key store for both and its password, and a store, of the same password, of clients' certificates. It says "ready", then reads commands, one a line, and answers
 * each with "ok", perhaps after other lines, or "failed" and why:
 *
 *   samples CLIENT QUEUE      sends one message of each kind; the client is "own" or "amqp"
 *   texts QUEUE FROM COUNT    sends numbered texts, of which the even ones have the property "region" of "north"
 *   news TOPIC FROM COUNT     the same to a topic
 *   large QUEUE BYTES COUNT   sends so many messages of so many bytes
 *   create QUEUE              makes a queue
 *   count QUEUE               says how many messages are in a queue, or in the subscription CLIENT.NAME
 *   bound ADDRESS             says how many queues and subscriptions an address has
 *   dead                      says how many messages were set aside
 *
 * Who gives no name is a guest, who shows the certificate of "ada" may do what "mill" may. Addresses below "closed." are for the user "mill" with the password "grist" alone. A
 * connection of AMQP over which nobody says anything for eight seconds is closed. It ends with its input.
 */
public class JmsDriver {
  /** Messages in a transaction. */
  private static final int BATCH = 1000;

  private final Broker broker;
  private final Connection own;
  private final ConnectionFactory amqp;

  private JmsDriver(Broker broker, Connection own, ConnectionFactory amqp) {
    this.broker = broker;
    this.own = own;
    this.amqp = amqp;
  }

  public static void main(String[] args) throws Exception {
    Broker broker = (Broker) Class.forName(args[0]).getDeclaredConstructor().newInstance();
    broker.start(java.util.Arrays.copyOfRange(args, 1, args.length));
    String place = "127.0.0.1:" + args[2];
    ConnectionFactory amqp = new JmsConnectionFactory("amqp://" + place);
    try (Connection own = broker.own(place).createConnection("mill", "grist")) {
      JmsDriver driver = new JmsDriver(broker, own, amqp);
      System.out.println("ready");
      BufferedReader commands =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      for (String line = commands.readLine(); line != null; line = commands.readLine()) {
        try {
          driver.obey(line.split(" "));
          System.out.println("ok");
        } catch (Exception e) {
          System.out.println("failed " + e);
        }
      }
    }
    broker.stop();
  }

  /** What is sent by a command, in one transaction or several. */
  private interface Sending {
    void send(Session session, MessageProducer producer) throws Exception;
  }

  private void obey(String[] words) throws Exception {
    switch (words[0]) {
      case "samples":
        if (words[1].equals("amqp")) {
          try (Connection once = amqp.createConnection("mill", "grist")) {
            send(once, false, words[2], JmsDriver::samples);
          }
        } else {
          send(own, false, words[2], JmsDriver::samples);
        }
        break;
      case "texts":
      case "news":
        int from = Integer.parseInt(words[2]);
        int until = from + Integer.parseInt(words[3]);
        send(own, words[0].equals("news"), words[1], (s, p) -> texts(s, p, from, until));
        break;
      case "large":
        byte[] bytes = new byte[Integer.parseInt(words[2])];
        java.util.Arrays.fill(bytes, (byte) 'z');
        send(own, false, words[1], (s, p) -> large(s, p, bytes, Integer.parseInt(words[3])));
        break;
      case "create":
        broker.create(words[1]);
        break;
      case "count":
        System.out.println(broker.count(words[1]));
        break;
      case "bound":
        System.out.println(broker.bound(words[1]));
        break;
      case "dead":
        System.out.println(broker.count(broker.dead()));
        break;
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }

  private static void send(Connection client, boolean topic, String name, Sending sending)
      throws Exception {
    try (Session session = client.createSession(true, Session.SESSION_TRANSACTED)) {
      MessageProducer producer =
          session.createProducer(topic ? session.createTopic(name) : session.createQueue(name));
      sending.send(session, producer);
      session.commit();
    }
  }

  private static void texts(Session session, MessageProducer producer, int from, int until)
      throws Exception {
    for (int n = from; n < until; n++) {
      Message message = session.createTextMessage("text " + n);
      message.setStringProperty("region", n % 2 == 0 ? "north" : "south");
      producer.send(message);
      if (n % BATCH == 0) {
        session.commit();
      }
    }
  }

  private static void large(Session session, MessageProducer producer, byte[] bytes, int count)
      throws Exception {
    int together = Math.max(1, Math.min(BATCH, (1 << 20) / bytes.length));
    for (int i = 0; i < count; i++) {
      BytesMessage message = session.createBytesMessage();
      message.writeBytes(bytes);
      producer.send(message);
      if (i % together == 0) {
        session.commit();
      }
    }
  }

  private static void samples(Session session, MessageProducer producer) throws Exception {
    producer.send(session.createTextMessage("plain"));
    producer.send(session.createTextMessage("h\u00e9llo \u4e16\u754c \ud83d\ude00"));
    producer.send(session.createTextMessage("two\nlines"));
    producer.send(session.createTextMessage(""));
    producer.send(session.createTextMessage());
    producer.send(session.createMessage());
    bytes(session, producer, new byte[] {0, 1, -1, -128, 127, 'x'});
    bytes(session, producer, new byte[0]);
    // More than one frame of any protocol, less than what the broker takes for a large message.
    byte[] filling = new byte[90_000];
    java.util.Arrays.fill(filling, (byte) 'y');
    bytes(session, producer, filling);
    // A large message for the broker, which it keeps in a file of its own.
    bytes(session, producer, new byte[900_000]);
    producer.send(session.createTextMessage("long ".repeat(100_000)));
    for (Serializable object : new Serializable[] {"an object", 42, Double.NaN}) {
      producer.send(session.createObjectMessage(object));
    }
    MapMessage map = session.createMapMessage();
    map.setString("key", "value");
    map.setInt("number", 1);
    producer.send(map);
    StreamMessage stream = session.createStreamMessage();
    stream.writeString("value");
    stream.writeInt(1);
    producer.send(stream);
    // Properties: their text is Java's.
    property(session, producer, "boolean", true);
    property(session, producer, "byte", (byte) -7);
    property(session, producer, "short", (short) 300);
    property(session, producer, "int", Integer.MIN_VALUE);
    property(session, producer, "long", Long.MAX_VALUE);
    for (float f : new float[] {0f, -0f, 1f, 0.1f, 1e-3f, 9.5e-4f, 1e7f, 3.4e38f, Float.NaN}) {
      property(session, producer, "float", f);
    }
    double[] doubles = {0, 1, 0.1, -2.5, 1e-3, 1e-4, 9999999, 1e7, 1.5e300, -1 / 0.0};
    for (double d : doubles) {
      property(session, producer, "double", d);
    }
    property(session, producer, "string", "w\u00f6rd");
    property(session, producer, "empty", "");
    property(session, producer, "n\u00e4me_$", "x");
    Message named = session.createTextMessage("headers of JMS");
    named.setJMSType("kind");
    named.setJMSCorrelationID("c-1");
    named.setStringProperty("JMSXGroupID", "group");
    named.setIntProperty("JMSXGroupSeq", 3);
    producer.send(named);
    Message many = session.createTextMessage("many");
    for (int i = 0; i < 20; i++) {
      many.setIntProperty("p" + i, i);
    }
    producer.send(many);
    producer.setPriority(9);
    producer.setTimeToLive(600_000);
    producer.send(session.createTextMessage("urgent"));
  }

  private static void bytes(Session session, MessageProducer producer, byte[] bytes)
      throws Exception {
    BytesMessage message = session.createBytesMessage();
    message.writeBytes(bytes);
    producer.send(message);
  }

  private static void property(
      Session session, MessageProducer producer, String name, Object value) throws Exception {
    Message message = session.createTextMessage("with a property");
    message.setObjectProperty(name, value);
    producer.send(message);
  }
}
