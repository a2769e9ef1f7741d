//! The real world: this machine's time, names, environment, and the `-D` properties.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use splashdam_config::subst::Lookups;
use splashdam_core::{Clock, World};

mod date;

/// This machine, as components and variables in a configuration see it.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    properties: BTreeMap<String, String>,
}

impl Machine {
    /// The machine with the `-D` properties of the command line.
    pub(crate) fn new(properties: BTreeMap<String, String>) -> Self {
        Machine { properties }
    }

    /// The first address that the host's own name has, IPv4 before IPv6 as in Java.
    fn local_address(&self) -> Option<IpAddr> {
        let name = self.host_name()?;
        let mut addresses = addresses(&name);
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.first().copied()
    }
}

impl Lookups for Machine {
    /// `${sys:name}`: a `-D` property, or one of those that every Java has and that make sense
    /// without it.
    fn system(&self, name: &str) -> Option<String> {
        if let Some(given) = self.properties.get(name) {
            return Some(given.clone());
        }
        let fixed = match name {
            "user.home" => return Some(self.home().display().to_string()),
            "user.name" => return Some(Account::own()?.name),
            "user.dir" => return Some(env::current_dir().ok()?.display().to_string()),
            "os.version" => return first_line("/proc/sys/kernel/osrelease"),
            "java.io.tmpdir" => "/tmp",
            "file.separator" => "/",
            "path.separator" => ":",
            "line.separator" => "\n",
            "file.encoding" => "UTF-8",
            "os.name" => "Linux",
            "os.arch" => java_architecture(),
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.variable(name)
    }

    /// `${java:name}`: there is no Java here, so it tells of this program and this machine in the
    /// words that Java's lookup uses.
    fn java(&self, name: &str) -> Option<String> {
        const PROGRAM: &str = concat!("splashdam ", env!("CARGO_PKG_VERSION"));
        let architecture = java_architecture();
        Some(match name {
            "version" | "runtime" | "vm" => PROGRAM.to_owned(),
            "os" => {
                let release = self.system("os.version").unwrap_or_default();
                format!("Linux {release}, architecture: {architecture}-{}", usize::BITS)
            }
            "hardware" => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                format!("processors: {processors}, architecture: {architecture}-{}", usize::BITS)
            }
            "locale" => {
                let language = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
                    let value = env::var(name).ok()?;
                    let value = value.split('.').next().unwrap_or_default().to_owned();
                    (!matches!(value.as_str(), "" | "C" | "POSIX")).then_some(value)
                });
                let language = language.unwrap_or_else(|| "en".to_owned());
                format!("default locale: {language}, platform encoding: UTF-8")
            }
            _ => return None,
        })
    }

    /// `${date:pattern}`: now, in this machine's zone, in a pattern of `SimpleDateFormat`.
    /// Nothing for a pattern that Java refuses too.
    fn date(&self, pattern: &str) -> Option<String> {
        let now = jiff::Timestamp::from_millisecond(self.now_millis()).ok()?;
        date::format(pattern, &now.to_zoned(jiff::tz::TimeZone::system()))
    }

    /// Whether a bare `${NAME}` falls back to the environment.
    fn bare_environment(&self) -> bool {
        let resolver = "org.apache.flume.node.EnvVarResolverProperties";
        self.properties.get("propertiesImplementation").is_some_and(|name| name == resolver)
    }
}

impl Clock for Machine {
    fn now_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

impl World for Machine {
    fn seed(&self) -> u64 {
        // Keys from the system's generator, other ones with each call.
        RandomState::new().build_hasher().finish()
    }

    fn host_name(&self) -> Option<String> {
        first_line("/proc/sys/kernel/hostname").or_else(|| first_line("/etc/hostname"))
    }

    fn canonical_host_name(&self) -> Option<String> {
        // As in Java: the name of the address, if that name has the address; else the address.
        let address = self.local_address()?;
        let name = dns_lookup::lookup_addr(&address).ok();
        let name = name.filter(|name| addresses(name).contains(&address));
        Some(name.unwrap_or_else(|| address.to_string()))
    }

    fn host_address(&self) -> Option<String> {
        self.local_address().map(|address| address.to_string())
    }

    fn variable(&self, name: &str) -> Option<String> {
        // A name with `=` or NUL is no name, and asking for it would panic.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn property(&self, name: &str) -> Option<String> {
        self.properties.get(name).cloned()
    }

    fn home(&self) -> PathBuf {
        // As Java's `user.home`: what the account says, not what HOME says.
        let given = self.properties.get("user.home").map(PathBuf::from);
        given
            .or_else(|| Some(Account::own()?.home))
            .or_else(|| env::var_os("HOME").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("/"))
    }
}

/// A line of `/etc/passwd`.
#[derive(Debug, PartialEq)]
struct Account {
    name: String,
    home: PathBuf,
}

impl Account {
    fn own() -> Option<Self> {
        let user = fs::metadata("/proc/self").ok()?.uid();
        Account::find(&fs::read_to_string("/etc/passwd").ok()?, user)
    }

    fn find(accounts: &str, user: u32) -> Option<Self> {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id = fields.nth(1)?.parse::<u32>().ok()?;
            let home = fields.nth(2).filter(|home| !home.is_empty())?;
            (id == user).then(|| Account { name: name.to_owned(), home: home.into() })
        })
    }
}

fn addresses(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

fn java_architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_before_what_the_machine_says() {
        let given = [("user.home", "/given"), ("mine", "x")];
        let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let machine = Machine::new(BTreeMap::from(given));
        assert_eq!(machine.system("user.home").as_deref(), Some("/given"));
        assert_eq!(machine.home(), PathBuf::from("/given"));
        assert_eq!(machine.system("mine"), machine.property("mine"));
        assert_eq!(machine.system("java.io.tmpdir").as_deref(), Some("/tmp"));
        assert_eq!(machine.system("unheard.of"), None);
        assert!(machine.java("os").unwrap().starts_with("Linux "));
        assert_eq!(machine.java("unheard.of"), None);
        assert!(!machine.bare_environment());
    }

    #[test]
    fn the_account_is_found_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nmill:x:1000:5::/srv/mill:\nno:x:7:7";
        let check = |user, want: Option<(&str, &str)>| {
            let want = want.map(|(name, home)| Account { name: name.into(), home: home.into() });
            assert_eq!(Account::find(accounts, user), want);
        };
        check(0, Some(("root", "/root")));
        check(1000, Some(("mill", "/srv/mill")));
        check(7, None);
        check(8, None);
    }

    #[test]
    fn names_and_addresses_fit_together() {
        let machine = Machine::default();
        assert!(!machine.host_name().unwrap().is_empty());
        if let Some(address) = machine.host_address() {
            assert!(address.parse::<IpAddr>().is_ok(), "{address}");
            assert!(machine.canonical_host_name().is_some());
        }
        assert_eq!(addresses("127.0.0.1"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("no such name"), Vec::<IpAddr>::new());
    }

    #[test]
    fn odd_names_of_variables_are_nobodys() {
        let machine = Machine::default();
        for name in ["", "A=B", "A\0B", "SPLASHDAM_SURELY_UNSET"] {
            assert_eq!(machine.variable(name), None, "{name:?}");
        }
    }

    #[test]
    fn seeds_differ() {
        let machine = Machine::default();
        assert_ne!(machine.seed(), machine.seed());
    }
}
