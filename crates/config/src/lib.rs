//! Flume's configuration: text becomes entries with spans, entries become a [`Plan`], and each
//! component reads its own [`Section`] of it through serde. All that is wrong on the way is a
//! [`Diagnostic`] that knows its place. This crate acts on nothing and knows no component.

pub mod de;
pub mod diagnostic;
mod mistakes;
mod nearest;
pub mod plan;
pub mod source;
pub mod subst;
pub mod text;
pub mod tree;

pub use de::{CommaList, Lenient, Reader, Reading, Spanned, Words};
pub use diagnostic::{Diagnostic, Severity};
pub use nearest::nearest;
pub use plan::{Plan, PlanReading};
pub use source::{FileId, LineCol, Source, Sources, Span};
pub use subst::{ConfigFilter, Lookups, NoLookups};
pub use text::{Entry, Located};
pub use tree::Section;
