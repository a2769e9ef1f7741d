import org.apache.log4j.LogManager;
import org.apache.log4j.Logger;
import org.apache.log4j.PropertyConfigurator;

/** Logs numbers through whatever a Log4j 1 configuration says: {@code FILE COUNT}. */
public class Log4jDriver {
  public static void main(String[] arguments) {
    PropertyConfigurator.configure(arguments[0]);
    Logger logger = Logger.getLogger("mill");
    for (int number = 0; number < Integer.parseInt(arguments[1]); number++) {
      logger.info("n" + number);
    }
    LogManager.shutdown();
  }
}
