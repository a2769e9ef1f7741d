import java.io.File;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import javax.jms.ConnectionFactory;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.TrustManagerFactory;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.broker.BrokerPlugin;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.broker.ConnectionContext;
import org.apache.activemq.broker.SslContext;
import org.apache.activemq.broker.region.DestinationFilter;
import org.apache.activemq.broker.region.DurableTopicSubscription;
import org.apache.activemq.broker.region.Topic;
import org.apache.activemq.broker.region.policy.PolicyEntry;
import org.apache.activemq.broker.region.policy.PolicyMap;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.ConnectionInfo;
import org.apache.activemq.jaas.GroupPrincipal;
import org.apache.activemq.jaas.TextFileCertificateLoginModule;
import org.apache.activemq.security.AuthenticationBroker;
import org.apache.activemq.security.AuthenticationUser;
import org.apache.activemq.security.AuthorizationEntry;
import org.apache.activemq.security.AuthorizationPlugin;
import org.apache.activemq.security.DefaultAuthorizationMap;
import org.apache.activemq.security.JaasCertificateAuthenticationBroker;
import org.apache.activemq.security.SecurityContext;
import org.apache.activemq.security.SimpleAuthenticationPlugin;
import org.apache.activemq.store.kahadb.KahaDBPersistenceAdapter;

/** ActiveMQ Classic. It knows OpenWire and AMQP apart on the port without TLS. */
public class ClassicBroker implements Broker {
  private final BrokerService broker = new BrokerService();

  @Override
  public void start(String[] args) throws Exception {
    KahaDBPersistenceAdapter journal = new KahaDBPersistenceAdapter();
    journal.setDirectory(new File(args[0], "classic"));
    journal.setJournalMaxFileLength(8 << 20);
    broker.setPersistenceAdapter(journal);
    broker.setUseJmx(false);
    broker.setAdvisorySupport(false);
    broker.setDataDirectory(args[0]);
    broker.getSystemUsage().getStoreUsage().setLimit(1 << 30);
    broker.getSystemUsage().getTempUsage().setLimit(1 << 30);
    broker.addConnector("auto://127.0.0.1:" + args[1] + "?amqp.wireFormat.idleTimeout=8000");
    if (args.length > 4) {
      broker.setSslContext(sealed(args[4], args[6], args[5].toCharArray()));
      broker.addConnector("amqp+ssl://127.0.0.1:" + args[2]);
      broker.addConnector("amqp+ssl://127.0.0.1:" + args[3] + "?needClientAuth=true");
    }
    // A selector passes over no more than one page of messages that it does not want.
    PolicyEntry policy = new PolicyEntry();
    policy.setMaxPageSize(20_000);
    PolicyMap policies = new PolicyMap();
    policies.setDefaultEntry(policy);
    broker.setDestinationPolicy(policies);
    SimpleAuthenticationPlugin users =
        new SimpleAuthenticationPlugin(List.of(new AuthenticationUser("mill", "grist", "millers")));
    users.setAnonymousAccessAllowed(true);
    users.setAnonymousUser("guest");
    users.setAnonymousGroup("guests");
    // Rights add up, so that an entry of its own would close nothing.
    AuthorizationPlugin rights =
        new AuthorizationPlugin(
            new DefaultAuthorizationMap(
                List.of(
                    all(new ActiveMQQueue(">"), "millers,guests"),
                    all(new ActiveMQTopic(">"), "millers,guests"))) {
              @Override
              public Set<Object> getReadACLs(ActiveMQDestination destination) {
                return destination.getPhysicalName().startsWith("closed.")
                    ? Set.of(new GroupPrincipal("millers"))
                    : super.getReadACLs(destination);
              }
            });
    broker.setPlugins(new BrokerPlugin[] {users, rights, known(args[0])});
    broker.start();
    broker.waitUntilStarted();
  }

  private static SslContext sealed(String keys, String clients, char[] password)
      throws Exception {
    KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    own.init(KeyStore.getInstance(new File(keys), password), password);
    TrustManagerFactory others =
        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    others.init(KeyStore.getInstance(new File(clients), password));
    return new SslContext(own.getKeyManagers(), others.getTrustManagers(), null);
  }

  /** Who shows a certificate logs in by it, and nobody else does. */
  private static BrokerPlugin known(String dir) throws Exception {
    Map<String, String> files = Broker.known(dir, "org.apache.activemq.jaas.textfiledn.group");
    Configuration.setConfiguration(
        new Configuration() {
          @Override
          public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
            return Broker.by(TextFileCertificateLoginModule.class, files);
          }
        });
    return next ->
        new JaasCertificateAuthenticationBroker(next, "known") {
          @Override
          public void addConnection(ConnectionContext context, ConnectionInfo info)
              throws Exception {
            if (info.getTransportContext() instanceof X509Certificate[]) {
              super.addConnection(context, info);
            } else {
              getNext().addConnection(context, info);
            }
          }

          @Override
          public SecurityContext authenticate(String user, String password, X509Certificate[] shown)
              throws SecurityException {
            if (shown != null) {
              return super.authenticate(user, password, shown);
            }
            return ((AuthenticationBroker) getNext().getAdaptor(AuthenticationBroker.class))
                .authenticate(user, password, null);
          }
        };
  }

  @SuppressWarnings("rawtypes")
  private static org.apache.activemq.filter.DestinationMapEntry all(
      ActiveMQDestination destination, String groups) throws Exception {
    AuthorizationEntry entry = new AuthorizationEntry();
    entry.setDestination(destination);
    entry.setRead(groups);
    entry.setWrite(groups);
    entry.setAdmin(groups);
    return entry;
  }

  @Override
  public ConnectionFactory own(String place) {
    ActiveMQConnectionFactory factory = new ActiveMQConnectionFactory("tcp://" + place);
    factory.setWatchTopicAdvisories(false);
    return factory;
  }

  @Override
  public void create(String queue) throws Exception {
    broker.getDestination(new ActiveMQQueue(queue));
  }

  @Override
  public long count(String name) throws Exception {
    String[] parts = name.split("\\.");
    if (parts[parts.length - 1].equals("readers")) {
      return topics()
          .flatMap(topic -> topic.getDurableTopicSubs().values().stream())
          .filter(one -> key(one).equals(name))
          .mapToLong(one -> one.getPendingQueueSize() + one.getDispatchedQueueSize())
          .sum();
    }
    return broker
        .getDestination(new ActiveMQQueue(name))
        .getDestinationStatistics()
        .getMessages()
        .getCount();
  }

  @Override
  public long bound(String address) throws Exception {
    return topics()
        .filter(topic -> topic.getName().equals(address))
        .mapToLong(topic -> topic.getDurableTopicSubs().size())
        .sum();
  }

  private static String key(DurableTopicSubscription one) {
    return one.getSubscriptionKey().getClientId()
        + "."
        + one.getSubscriptionKey().getSubscriptionName();
  }

  private Stream<Topic> topics() throws Exception {
    // Between a topic and who asks stand those that answer for it to the plugins.
    return broker.getBroker().getDestinationMap().values().stream()
        .map(one -> one instanceof DestinationFilter ? ((DestinationFilter) one).getNext() : one)
        .filter(Topic.class::isInstance)
        .map(Topic.class::cast);
  }

  @Override
  public String dead() {
    return "ActiveMQ.DLQ";
  }

  @Override
  public void stop() throws Exception {
    broker.stop();
  }
}
