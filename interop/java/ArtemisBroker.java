import java.util.Map;
import java.util.Set;
import javax.jms.ConnectionFactory;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.activemq.artemis.api.core.QueueConfiguration;
import org.apache.activemq.artemis.api.core.RoutingType;
import org.apache.activemq.artemis.api.core.SimpleString;
import org.apache.activemq.artemis.core.config.impl.ConfigurationImpl;
import org.apache.activemq.artemis.core.config.impl.SecurityConfiguration;
import org.apache.activemq.artemis.core.security.Role;
import org.apache.activemq.artemis.core.server.JournalType;
import org.apache.activemq.artemis.core.server.Queue;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;
import org.apache.activemq.artemis.core.settings.impl.AddressSettings;
import org.apache.activemq.artemis.jms.client.ActiveMQConnectionFactory;
import org.apache.activemq.artemis.spi.core.security.ActiveMQJAASSecurityManager;
import org.apache.activemq.artemis.spi.core.security.jaas.InVMLoginModule;
import org.apache.activemq.artemis.spi.core.security.jaas.TextFileCertificateLoginModule;

/** ActiveMQ Artemis. Addresses below "missing." are not made by being asked for, all others are. */
public class ArtemisBroker implements Broker {
  private static final SimpleString DEAD = SimpleString.of("DLQ");

  private final EmbeddedActiveMQ broker = new EmbeddedActiveMQ();

  @Override
  public void start(String[] args) throws Exception {
    String dir = args[0];
    ConfigurationImpl configuration = new ConfigurationImpl();
    configuration
        .setPersistenceEnabled(true)
        .setSecurityEnabled(true)
        .setJournalType(JournalType.NIO)
        .setJournalFileSize(1 << 20)
        .setJournalMinFiles(2)
        .setMaxDiskUsage(-1)
        .setJournalDirectory(dir + "/journal")
        .setBindingsDirectory(dir + "/bindings")
        .setPagingDirectory(dir + "/paging")
        .setLargeMessagesDirectory(dir + "/large");
    String idle = ";amqpIdleTimeout=8000";
    configuration.addAcceptorConfiguration(
        "plain", "tcp://127.0.0.1:" + args[1] + "?protocols=AMQP,CORE" + idle);
    if (args.length > 4) {
      String sealed =
          "?protocols=AMQP;sslEnabled=true;keyStorePath=" + args[4] + ";keyStorePassword=" + args[5];
      configuration.addAcceptorConfiguration(
          "sealed", "tcp://127.0.0.1:" + args[2] + sealed + idle);
      configuration.addAcceptorConfiguration(
          "known",
          "tcp://127.0.0.1:" + args[3] + sealed + idle
              + ";needClientAuth=true;saslMechanisms=EXTERNAL;trustStorePath=" + args[6]
              + ";trustStorePassword=" + args[5]);
    }
    configuration.addAddressSetting("#", settings(true));
    configuration.addAddressSetting("missing.#", settings(false));
    configuration.putSecurityRoles("#", Set.of(mayAll("millers"), mayAll("guests")));
    configuration.putSecurityRoles("closed.#", Set.of(mayAll("millers")));
    SecurityConfiguration users = new SecurityConfiguration();
    users.addUser("mill", "grist");
    users.addRole("mill", "millers");
    users.addUser("guest", "guest");
    users.addRole("guest", "guests");
    users.setDefaultUser("guest");
    broker.setConfiguration(configuration);
    Map<String, String> files = Broker.known(dir, "org.apache.activemq.jaas.textfiledn.role");
    SecurityConfiguration known =
        new SecurityConfiguration() {
          @Override
          public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
            return Broker.by(TextFileCertificateLoginModule.class, files);
          }
        };
    broker.setSecurityManager(
        new ActiveMQJAASSecurityManager(InVMLoginModule.class.getName(), "known", users, known));
    broker.start();
    // Without a queue there the broker forgets what it sets aside.
    create(dead());
  }

  private static AddressSettings settings(boolean made) {
    return new AddressSettings()
        .setAutoCreateQueues(made)
        .setAutoCreateAddresses(made)
        .setAutoDeleteQueues(false)
        .setAutoDeleteAddresses(false)
        .setDeadLetterAddress(DEAD);
  }

  private static Role mayAll(String name) {
    return new Role(name, true, true, true, true, true, true, true, true, true, true);
  }

  @Override
  public ConnectionFactory own(String place) {
    return new ActiveMQConnectionFactory("tcp://" + place);
  }

  @Override
  public void create(String queue) throws Exception {
    SimpleString name = SimpleString.of(queue);
    if (broker.getActiveMQServer().locateQueue(name) == null) {
      QueueConfiguration made = QueueConfiguration.of(name);
      made.setRoutingType(RoutingType.ANYCAST).setAutoCreateAddress(true);
      broker.getActiveMQServer().createQueue(made);
    }
  }

  @Override
  public long count(String name) {
    Queue queue = broker.getActiveMQServer().locateQueue(SimpleString.of(name));
    return queue == null ? 0 : queue.getMessageCount();
  }

  @Override
  public long bound(String address) throws Exception {
    SimpleString name = SimpleString.of(address);
    return broker.getActiveMQServer().bindingQuery(name).getQueueNames().size();
  }

  @Override
  public String dead() {
    return DEAD.toString();
  }

  @Override
  public void stop() throws Exception {
    broker.stop();
  }
}
