//! Config filters.
