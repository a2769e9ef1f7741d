//! Config filters, one file each: they answer `${name['key']}` in values.

pub mod env;
pub mod external;
pub mod hadoop;
