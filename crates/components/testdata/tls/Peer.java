import java.io.*;
import java.nio.file.*;
import java.security.KeyStore;
import javax.net.ssl.*;

/**
 * One end of a connection as Flume's JSSE has it: `server` or `client` and its port, protocol, key store, trust store,
 * and whether a client has to show a certificate. Passwords are `changeit`. Says the protocol and `ok`, or what went wrong.
 */
public class Peer {
    public static void main(String[] a) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        KeyManager[] keys = null;
        if (!a[3].equals("-")) {
            KeyManagerFactory f = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            f.init(load(a[3]), "changeit".toCharArray());
            keys = f.getKeyManagers();
        }
        TrustManager[] trust = null;
        if (!a[4].equals("-")) {
            TrustManagerFactory f = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            f.init(load(a[4]));
            trust = f.getTrustManagers();
        }
        context.init(keys, trust, null);
        SSLSocket socket;
        if (a[0].equals("server")) {
            SSLServerSocket server = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0, 1, java.net.InetAddress.getByName("127.0.0.1"));
            server.setNeedClientAuth(a[5].equals("needed"));
            System.out.println(server.getLocalPort());
            socket = (SSLSocket) server.accept();
        } else {
            socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", Integer.parseInt(a[1]));
        }
        socket.setEnabledProtocols(new String[] {a[2]});
        try (socket) {
            socket.startHandshake();
            socket.getOutputStream().write('!');
            int got = socket.getInputStream().read();
            System.out.println(socket.getSession().getProtocol() + (got == '!' ? " ok" : " closed"));
        } catch (IOException e) {
            System.out.println(e);
        }
    }

    private static KeyStore load(String path) throws Exception {
        KeyStore store = KeyStore.getInstance("JKS");
        try (InputStream in = Files.newInputStream(Path.of(path))) {
            store.load(in, "changeit".toCharArray());
        }
        return store;
    }
}
