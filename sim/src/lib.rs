//! Proves things about the log on simulated disks, all from one seed: what was acknowledged is
//! delivered, nothing is invented, transactions are whole and order holds, whatever the disks do
//! that is fair (see [`disk`]).

pub mod campaign;
pub mod dice;
pub mod disk;
pub mod everywhere;
pub mod oracle;
pub mod plan;
pub mod planted;
pub mod run;
pub mod scenario;
pub mod sender;
