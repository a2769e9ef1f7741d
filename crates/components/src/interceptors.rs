//! Interceptors, one file each.

mod external;
mod host;
mod regex_extractor;
mod regex_filter;
mod remove_header;
mod search_replace;
mod static_header;
mod timestamp;
mod uuid;

pub use external::External;
pub use host::Host;
pub use regex_extractor::RegexExtractor;
pub use regex_filter::RegexFilter;
pub use remove_header::RemoveHeader;
pub use search_replace::SearchReplace;
pub use static_header::Static;
pub use timestamp::Timestamp;
pub use uuid::UuidHeader;
