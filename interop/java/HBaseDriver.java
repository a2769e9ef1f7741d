import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.Cell;
import org.apache.hadoop.hbase.CellUtil;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.BufferedMutator;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Put;
import org.apache.hadoop.hbase.client.RegionInfo;
import org.apache.hadoop.hbase.client.Result;
import org.apache.hadoop.hbase.client.Scan;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * HBase's own client, driven by lines on standard input. Bytes are in hexadecimal, `-` stands for none. Each command
 * ends with a line `ok`, or `failed` and the reason on the same line.
 *
 * <pre>
 * create TABLE FAMILY[,FAMILY] [SPLIT,SPLIT…]     enable TABLE     disable TABLE     drop TABLE
 * put TABLE ROW FAMILY QUALIFIER VALUE TIMESTAMP(-)
 * scan TABLE             prints  cell ROW FAMILY QUALIFIER VALUE TIMESTAMP
 * regions TABLE          prints  region NAME START END
 * split TABLE ROW        merge TABLE (all regions)  move TABLE (closes and opens each region)
 * join TABLE N           merges the region with this number, counted around, and the next one
 * load TABLE FAMILY ROWS VALUE_BYTES   puts through a buffered mutator, prints  took MILLISECONDS
 * </pre>
 */
public final class HBaseDriver {
  private static final char[] DIGITS = "0123456789abcdef".toCharArray();

  private final Connection connection;

  private HBaseDriver(Connection connection) {
    this.connection = connection;
  }

  public static void main(String[] arguments) throws Exception {
    Configuration configuration = HBaseConfiguration.create();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (Connection connection = ConnectionFactory.createConnection(configuration)) {
      HBaseDriver driver = new HBaseDriver(connection);
      System.out.println("ready");
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        try {
          driver.act(line.split(" "));
          System.out.println("ok");
        } catch (Exception failure) {
          System.out.println("failed " + failure.toString().replace('\n', ' '));
        }
      }
    }
  }

  private void act(String[] words) throws Exception {
    TableName table = TableName.valueOf(words[1]);
    try (Admin admin = connection.getAdmin()) {
      switch (words[0]) {
        case "create" -> create(admin, table, words);
        case "enable" -> admin.enableTable(table);
        case "disable" -> admin.disableTable(table);
        case "drop" -> {
          admin.disableTable(table);
          admin.deleteTable(table);
        }
        case "put" -> put(table, words);
        case "scan" -> scan(table);
        case "regions" -> regions(admin, table);
        case "split" -> eventually(admin, table, () -> split(admin, table, bytes(words[2])));
        case "merge" -> eventually(admin, table, () -> merge(admin, admin.getRegions(table)));
        case "join" -> eventually(admin, table, () -> join(admin, table, Integer.parseInt(words[2])));
        case "move" -> {
          for (RegionInfo region : admin.getRegions(table)) {
            admin.unassign(region.getRegionName(), false);
            admin.assign(region.getRegionName());
          }
        }
        case "load" -> load(table, Bytes.toBytes(words[2]), Integer.parseInt(words[3]), Integer.parseInt(words[4]));
        default -> throw new IllegalArgumentException("no command " + words[0]);
      }
    }
  }

  private static void create(Admin admin, TableName table, String[] words) throws Exception {
    TableDescriptorBuilder builder = TableDescriptorBuilder.newBuilder(table);
    for (String family : words[2].split(",")) {
      builder.setColumnFamily(
          ColumnFamilyDescriptorBuilder.newBuilder(Bytes.toBytes(family)).setMaxVersions(3).build());
    }
    if (words.length < 4) {
      admin.createTable(builder.build());
    } else {
      byte[][] splits = Arrays.stream(words[3].split(",")).map(HBaseDriver::bytes).toArray(byte[][]::new);
      admin.createTable(builder.build(), splits);
    }
  }

  private void put(TableName name, String[] words) throws Exception {
    Put put = new Put(bytes(words[2]));
    if (words[6].equals("-")) {
      put.addColumn(bytes(words[3]), bytes(words[4]), bytes(words[5]));
    } else {
      put.addColumn(bytes(words[3]), bytes(words[4]), Long.parseLong(words[6]), bytes(words[5]));
    }
    try (Table table = connection.getTable(name)) {
      table.put(put);
    }
  }

  private void scan(TableName name) throws Exception {
    try (Table table = connection.getTable(name);
        var results = table.getScanner(new Scan().readVersions(3))) {
      for (Result result : results) {
        for (Cell cell : result.rawCells()) {
          System.out.println(
              "cell " + hex(CellUtil.cloneRow(cell)) + " " + hex(CellUtil.cloneFamily(cell)) + " "
                  + hex(CellUtil.cloneQualifier(cell)) + " " + hex(CellUtil.cloneValue(cell)) + " "
                  + cell.getTimestamp());
        }
      }
    }
  }

  private static void regions(Admin admin, TableName table) throws Exception {
    for (RegionInfo region : admin.getRegions(table)) {
      System.out.println(
          "region " + region.getRegionNameAsString() + " " + hex(region.getStartKey()) + " " + hex(region.getEndKey()));
    }
  }

  private static void split(Admin admin, TableName table, byte[] row) throws Exception {
    for (RegionInfo region : admin.getRegions(table)) {
      if (region.containsRow(row)) {
        admin.splitRegionAsync(region.getRegionName(), row).get();
      }
    }
  }

  private interface Step {
    void take() throws Exception;
  }

  /** What a split or a merge made can be split or merged when its files are rewritten, which may take long. */
  private static void eventually(Admin admin, TableName table, Step step) throws Exception {
    for (int tries = 1; ; tries++) {
      try {
        step.take();
        return;
      } catch (Exception hindered) {
        if (tries == 15) {
          throw hindered;
        }
        if (tries % 10 == 1) {
          admin.majorCompact(table);
        }
        Thread.sleep(1000);
      }
    }
  }

  private static void join(Admin admin, TableName table, int number) throws Exception {
    List<RegionInfo> regions = admin.getRegions(table);
    int first = number % (regions.size() - 1);
    merge(admin, regions.subList(first, first + 2));
  }

  private static void merge(Admin admin, List<RegionInfo> regions) throws Exception {
    byte[][] names = regions.stream().map(RegionInfo::getEncodedNameAsBytes).toArray(byte[][]::new);
    admin.mergeRegionsAsync(names, false).get();
  }

  private void load(TableName name, byte[] family, int rows, int valueBytes) throws Exception {
    byte[] value = new byte[valueBytes];
    long began = System.nanoTime();
    try (BufferedMutator mutator = connection.getBufferedMutator(name)) {
      for (int row = 0; row < rows; row++) {
        Put put = new Put(Bytes.toBytes(String.format("java-%010d", row)));
        mutator.mutate(put.addColumn(family, Bytes.toBytes("pCol"), value));
      }
    }
    System.out.println("took " + (System.nanoTime() - began) / 1_000_000);
  }

  private static byte[] bytes(String hex) {
    if (hex.equals("-")) {
      return new byte[0];
    }
    byte[] bytes = new byte[hex.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return bytes;
  }

  private static String hex(byte[] bytes) {
    if (bytes.length == 0) {
      return "-";
    }
    StringBuilder text = new StringBuilder();
    for (byte b : bytes) {
      text.append(DIGITS[(b >> 4) & 15]).append(DIGITS[b & 15]);
    }
    return text.toString();
  }
}
