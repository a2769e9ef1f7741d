import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.locks.LockSupport;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Load by Flume's client. Arguments: port, threads, events of a batch, bytes of a body, batches a second of all threads (0: as many
 * as go), seconds of warm-up, seconds measured. Each thread has a client of its own and one batch under way. The last line says
 * "events seconds p50 p99 p999 max", times of one appendBatch in microseconds, of what began in the measured time. With a rate,
 * a batch is due at its time whether or not the one before it has come back, and its time counts from when it was due.
 */
public final class RpcLoad {
  public static void main(String[] arguments) throws Exception {
    int[] numbers = Arrays.stream(arguments).mapToInt(Integer::parseInt).toArray();
    int threads = numbers[1];
    long warm = System.nanoTime() + numbers[5] * 1_000_000_000L;
    long end = warm + numbers[6] * 1_000_000_000L;
    long every = numbers[4] == 0 ? 0 : threads * 1_000_000_000L / numbers[4];
    Worker[] workers = new Worker[threads];
    for (int n = 0; n < threads; n++) {
      workers[n] = new Worker(numbers[0], numbers[2], numbers[3], every, every * n / threads, warm, end);
      workers[n].start();
    }
    long calls = 0;
    for (Worker worker : workers) {
      worker.join();
      if (worker.failed != null) {
        throw worker.failed;
      }
      calls += worker.count;
    }
    long[] all = new long[(int) calls];
    int at = 0;
    for (Worker worker : workers) {
      System.arraycopy(worker.took, 0, all, at, worker.count);
      at += worker.count;
    }
    Arrays.sort(all);
    System.out.println(calls * numbers[2] + " " + numbers[6] + " " + micros(all, 0.5) + " " + micros(all, 0.99) + " "
        + micros(all, 0.999) + " " + micros(all, 1));
    System.exit(0);
  }

  private static long micros(long[] sorted, double share) {
    return sorted.length == 0 ? -1 : sorted[Math.min(sorted.length - 1, (int) (sorted.length * share))] / 1000;
  }

  private static final class Worker extends Thread {
    private final RpcClient client;
    private final List<Event> batch = new ArrayList<>();
    private final long every;
    private final long offset;
    private final long warm;
    private final long end;
    private long[] took = new long[1 << 16];
    private int count;
    private Exception failed;

    Worker(int port, int events, int bytes, long every, long offset, long warm, long end) {
      Properties properties = new Properties();
      properties.setProperty("hosts", "h1");
      properties.setProperty("hosts.h1", "127.0.0.1:" + port);
      properties.setProperty("batch-size", Integer.toString(events));
      client = RpcClientFactory.getInstance(properties);
      byte[] body = new byte[bytes];
      Arrays.fill(body, (byte) 'x');
      for (int n = 0; n < events; n++) {
        batch.add(EventBuilder.withBody(body));
      }
      this.every = every;
      this.offset = offset;
      this.warm = warm;
      this.end = end;
    }

    @Override
    public void run() {
      try {
        long due = System.nanoTime() + offset;
        while (true) {
          long began = System.nanoTime();
          if (every > 0) {
            while (began < due) {
              // `Thread.sleep` rounds to milliseconds, which is more than some calls take.
              LockSupport.parkNanos(due - began);
              began = System.nanoTime();
            }
            began = due;
            due += every;
          }
          if (began >= end) {
            break;
          }
          client.appendBatch(batch);
          if (began >= warm) {
            if (count == took.length) {
              took = Arrays.copyOf(took, count * 2);
            }
            took[count++] = System.nanoTime() - began;
          }
        }
        client.close();
      } catch (Exception error) {
        failed = error;
      }
    }
  }
}
