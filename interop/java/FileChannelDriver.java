package org.apache.flume.channel.file;

import java.io.File;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * Drives a file channel by a script, or writes a log of version 2 to the directory that a property v2 names. Arguments: properties as key=value, then "--", then the steps:
 *
 * put N SIZE   puts N events in one transaction, and commits
 * take N       takes N events and commits
 * rollback N   takes N events and rolls back
 * unput N SIZE puts N events and rolls back
 * hold N       takes N events in a thread of its own and leaves the transaction open
 * holdput N    the same with puts
 * checkpoint   writes a checkpoint
 * load         puts and takes without end, until the process is killed; a line of "ready" first
 * drain        takes all there is, one line an event: body, and the headers, in hexadecimal digits
 * stop         stops the channel
 * halt         ends the process without any of Java's endings
 */
public final class FileChannelDriver {
  private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
  private static int number;

  public static void main(String[] arguments) throws Exception {
    // Flume itself prints when it stops.
    System.setOut(System.err);
    List<String> words = Arrays.asList(arguments);
    int split = words.indexOf("--");
    Map<String, String> properties = new TreeMap<>();
    for (String word : words.subList(0, split)) {
      int equals = word.indexOf('=');
      properties.put(word.substring(0, equals), word.substring(equals + 1));
    }
    if (properties.containsKey("v2")) {
      writeVersion2(new File(properties.get("v2")));
      System.exit(0);
    }
    FileChannel channel = new FileChannel();
    channel.setName("c1");
    Configurables.configure(channel, new Context(properties));
    channel.start();
    if (!channel.isOpen()) {
      throw new IllegalStateException("the channel did not open; see the log");
    }
    for (int at = split + 1; at < words.size(); at++) {
      switch (words.get(at)) {
        case "put" -> put(channel, Integer.parseInt(words.get(++at)), Integer.parseInt(words.get(++at)), true);
        case "unput" -> put(channel, Integer.parseInt(words.get(++at)), Integer.parseInt(words.get(++at)), false);
        case "take" -> take(channel, Integer.parseInt(words.get(++at)), true);
        case "rollback" -> take(channel, Integer.parseInt(words.get(++at)), false);
        case "hold" -> {
          int count = Integer.parseInt(words.get(++at));
          apart(() -> {
            channel.getTransaction().begin();
            for (int i = 0; i < count; i++) {
              channel.take();
            }
          });
        }
        case "holdput" -> {
          int count = Integer.parseInt(words.get(++at));
          apart(() -> {
            channel.getTransaction().begin();
            for (int i = 0; i < count; i++) {
              channel.put(event(40));
            }
          });
        }
        case "checkpoint" -> {
          Field log = FileChannel.class.getDeclaredField("log");
          log.setAccessible(true);
          Method write = Log.class.getDeclaredMethod("writeCheckpoint", Boolean.class);
          write.setAccessible(true);
          if (!(Boolean) write.invoke(log.get(channel), true)) {
            throw new IllegalStateException("no checkpoint was written");
          }
        }
        case "load" -> load(channel);
        case "drain" -> drain(channel);
        case "pause" -> Thread.sleep(Integer.parseInt(words.get(++at)));
        case "stop" -> channel.stop();
        case "halt" -> {
          OUT.flush();
          Runtime.getRuntime().halt(0);
        }
        default -> throw new IllegalArgumentException(words.get(at));
      }
    }
    OUT.flush();
    System.exit(0);
  }

  /** A log as Flume 1.2 wrote it, of records by the encoder that is still there: 50 events put, of which 10 undone, and
   *  10 taken. */
  private static void writeVersion2(File directory) throws Exception {
    directory.mkdirs();
    try (RandomAccessFile log = new RandomAccessFile(new File(directory, "log-1"), "rw")) {
      log.writeInt(2);
      log.writeInt(1);
      log.writeLong(0);
      log.writeLong(0);
      List<Integer> offsets = new ArrayList<>();
      long order = 1;
      for (long transaction = 1; transaction <= 5; transaction++) {
        for (int i = 0; i < 10; i++) {
          Event event = event(300 * i);
          FlumeEvent stored = new FlumeEvent(event.getHeaders(), event.getBody());
          offsets.add(append(log, new Put(transaction, order++, stored)));
        }
        short puts = TransactionEventRecord.Type.PUT.get();
        boolean undone = transaction == 3;
        append(log, undone ? new Rollback(transaction, order++) : new Commit(transaction, order++, puts));
      }
      for (long transaction = 6; transaction <= 8; transaction++) {
        for (int i = 0; i < 5; i++) {
          append(log, new Take(transaction, order++, offsets.get(5 * (int) (transaction - 6) + i), 1));
        }
        if (transaction < 8) {
          append(log, new Commit(transaction, order++, TransactionEventRecord.Type.TAKE.get()));
        }
      }
      byte[] fill = new byte[1 << 20];
      Arrays.fill(fill, (byte) 0x80);
      log.write(fill);
    }
  }

  private static int append(RandomAccessFile log, TransactionEventRecord record) throws Exception {
    int offset = (int) log.getFilePointer();
    ByteBuffer bytes = TransactionEventRecord.toByteBufferV2(record);
    log.writeByte(0x7f);
    log.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
    return offset;
  }

  private static void put(FileChannel channel, int count, int size, boolean keep) {
    Transaction transaction = channel.getTransaction();
    transaction.begin();
    for (int i = 0; i < count; i++) {
      channel.put(event(size));
    }
    if (keep) {
      transaction.commit();
    } else {
      transaction.rollback();
    }
    transaction.close();
  }

  private static int take(FileChannel channel, int count, boolean keep) {
    Transaction transaction = channel.getTransaction();
    transaction.begin();
    int taken = 0;
    while (taken < count && channel.take() != null) {
      taken++;
    }
    if (keep) {
      transaction.commit();
    } else {
      transaction.rollback();
    }
    transaction.close();
    return taken;
  }

  /** Two threads that put and one that takes, so that commits of several transactions mix. */
  private static void load(FileChannel channel) {
    for (int thread = 0; thread < 2; thread++) {
      new Thread(() -> {
        while (true) {
          put(channel, 7, 100, true);
        }
      }).start();
    }
    new Thread(() -> {
      for (int turn = 0; ; turn++) {
        take(channel, 9, turn % 5 != 0);
      }
    }).start();
    OUT.println("ready");
    OUT.flush();
    while (true) {
      try {
        Thread.sleep(1000);
      } catch (InterruptedException ended) {
        return;
      }
    }
  }

  private static void drain(FileChannel channel) {
    while (true) {
      Transaction transaction = channel.getTransaction();
      transaction.begin();
      int taken = 0;
      for (Event event; taken < 100 && (event = channel.take()) != null; taken++) {
        StringBuilder line = new StringBuilder(hex(event.getBody()));
        for (Map.Entry<String, String> header : new TreeMap<>(event.getHeaders()).entrySet()) {
          line.append(' ').append(hex(header.getKey().getBytes(StandardCharsets.UTF_8)));
          line.append('=').append(hex(header.getValue().getBytes(StandardCharsets.UTF_8)));
        }
        OUT.println(line);
      }
      transaction.commit();
      transaction.close();
      if (taken == 0) {
        return;
      }
    }
  }

  private static String hex(byte[] bytes) {
    return HexFormat.of().formatHex(bytes);
  }

  private static synchronized Event event(int size) {
    number++;
    byte[] body = new byte[size == 0 ? 0 : Math.max(size, 8)];
    for (int i = 0; i < body.length; i++) {
      body[i] = (byte) (number * 31 + i);
    }
    byte[] name = String.format("%08d", number).getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(name, 0, body, 0, Math.min(8, body.length));
    Map<String, String> headers = new TreeMap<>();
    if (number % 3 != 0) {
      headers.put("number", "n" + number);
    }
    if (number % 5 == 0) {
      headers.put("grün 🦀", "wért" + number);
      headers.put("empty", "");
    }
    return EventBuilder.withBody(body, headers);
  }

  private static void apart(Runnable work) throws InterruptedException {
    Thread thread = new Thread(work);
    thread.start();
    thread.join();
  }
}
