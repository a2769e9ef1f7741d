//! The client of HBase: what servers, ZooKeeper and site files may hold. The functions are the client's own, and run in
//! its property tests, too.

pub use splashdam_hbase::fuzzing::{answers, cell_block, meta_row, site, zookeeper};
