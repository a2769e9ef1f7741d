//! The messages of HBase's protocol, as far as this client speaks it. Numbers and types are those of
//! HBase's public definitions; what is not declared here is skipped when it is read.
//!
//! Text that comes from a server is declared as bytes, so that a stack trace with odd characters
//! does not make its message unreadable.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerName {
    #[prost(string, required, tag = "1")]
    pub(crate) host_name: String,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) port: Option<u32>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) start_code: Option<u64>,
}

/// What the nodes `meta-region-server` and `master` of ZooKeeper hold: field 1 of both is the
/// server.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerNode {
    #[prost(message, optional, tag = "1")]
    pub(crate) server: Option<ServerName>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserInformation {
    #[prost(string, required, tag = "1")]
    pub(crate) effective_user: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectionHeader {
    #[prost(message, optional, tag = "1")]
    pub(crate) user_info: Option<UserInformation>,
    #[prost(string, optional, tag = "2")]
    pub(crate) service_name: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) cell_block_codec_class: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct CellBlockMeta {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) length: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestHeader {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) call_id: Option<u32>,
    #[prost(string, optional, tag = "3")]
    pub(crate) method_name: Option<String>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) request_param: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub(crate) cell_block_meta: Option<CellBlockMeta>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) priority: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub(crate) timeout: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) call_id: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) exception: Option<ExceptionResponse>,
    #[prost(message, optional, tag = "3")]
    pub(crate) cell_block_meta: Option<CellBlockMeta>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExceptionResponse {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) exception_class_name: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) stack_trace: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) hostname: Option<Bytes>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) port: Option<i32>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) do_not_retry: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NameBytesPair {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) name: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) value: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BytesBytesPair {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) first: Bytes,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub(crate) second: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TableName {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) namespace: Bytes,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub(crate) qualifier: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegionInfo {
    #[prost(uint64, required, tag = "1")]
    pub(crate) region_id: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) table_name: Option<TableName>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) start_key: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) end_key: Option<Bytes>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) offline: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(crate) split: Option<bool>,
}

/// Kind 1 is the region's full name, the only one used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegionSpecifier {
    #[prost(int32, required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub(crate) value: Bytes,
}

impl RegionSpecifier {
    pub(crate) fn named(region: &Bytes) -> Option<Self> {
        Some(RegionSpecifier { kind: 1, value: region.clone() })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Column {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) family: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) qualifier: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Get {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) row: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) column: Vec<Column>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) max_versions: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) region: Option<RegionSpecifier>,
    #[prost(message, optional, tag = "2")]
    pub(crate) get: Option<Get>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<CellResult>,
}

/// HBase's `Cell`, for servers that answer with cells inside the message.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cell {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) row: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) family: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) qualifier: Option<Bytes>,
    #[prost(uint64, optional, tag = "4")]
    pub(crate) timestamp: Option<u64>,
    #[prost(int32, optional, tag = "5")]
    pub(crate) cell_type: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub(crate) value: Option<Bytes>,
}

/// HBase's `Result`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CellResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) cell: Vec<Cell>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) associated_cell_count: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MutationProto {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) row: Option<Bytes>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) mutate_type: Option<i32>,
    /// The cells, where they are not in the cell block.
    #[prost(message, repeated, tag = "3")]
    pub(crate) column_value: Vec<ColumnValue>,
    #[prost(int32, optional, tag = "6")]
    pub(crate) durability: Option<i32>,
    #[prost(int32, optional, tag = "8")]
    pub(crate) associated_cell_count: Option<i32>,
    #[prost(uint64, optional, tag = "9")]
    pub(crate) nonce: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ColumnValue {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) family: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) qualifier_value: Vec<QualifierValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QualifierValue {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) qualifier: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) value: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MutateRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) region: Option<RegionSpecifier>,
    #[prost(message, optional, tag = "2")]
    pub(crate) mutation: Option<MutationProto>,
    #[prost(uint64, optional, tag = "4")]
    pub(crate) nonce_group: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MutateResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<CellResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Action {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) index: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) mutation: Option<MutationProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegionAction {
    #[prost(message, optional, tag = "1")]
    pub(crate) region: Option<RegionSpecifier>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) action: Vec<Action>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MultiRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) region_action: Vec<RegionAction>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) nonce_group: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResultOrException {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) index: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) result: Option<CellResult>,
    #[prost(message, optional, tag = "3")]
    pub(crate) exception: Option<NameBytesPair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegionActionResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) result_or_exception: Vec<ResultOrException>,
    #[prost(message, optional, tag = "2")]
    pub(crate) exception: Option<NameBytesPair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MultiResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) region_action_result: Vec<RegionActionResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scan {
    #[prost(message, repeated, tag = "1")]
    pub(crate) column: Vec<Column>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) start_row: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) stop_row: Option<Bytes>,
    #[prost(uint32, optional, tag = "7")]
    pub(crate) max_versions: Option<u32>,
    #[prost(uint64, optional, tag = "10")]
    pub(crate) max_result_size: Option<u64>,
    #[prost(bool, optional, tag = "15")]
    pub(crate) reversed: Option<bool>,
    #[prost(uint32, optional, tag = "17")]
    pub(crate) caching: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScanRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) region: Option<RegionSpecifier>,
    #[prost(message, optional, tag = "2")]
    pub(crate) scan: Option<Scan>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) scanner_id: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) number_of_rows: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) close_scanner: Option<bool>,
    #[prost(uint64, optional, tag = "6")]
    pub(crate) next_call_seq: Option<u64>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) client_handles_partials: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub(crate) client_handles_heartbeats: Option<bool>,
    #[prost(uint32, optional, tag = "11")]
    pub(crate) limit_of_rows: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScanResponse {
    #[prost(uint32, repeated, packed = "false", tag = "1")]
    pub(crate) cells_per_result: Vec<u32>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) scanner_id: Option<u64>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) more_results: Option<bool>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) results: Vec<CellResult>,
    #[prost(bool, optional, tag = "8")]
    pub(crate) more_results_in_region: Option<bool>,
}

/// Field 1 is the state: 0 enabled, 1 disabled, 2 disabling, 3 enabling.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TableState {
    #[prost(int32, required, tag = "1")]
    pub(crate) state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ColumnFamilySchema {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) name: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) attributes: Vec<BytesBytesPair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TableSchema {
    #[prost(message, optional, tag = "1")]
    pub(crate) table_name: Option<TableName>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) attributes: Vec<BytesBytesPair>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) column_families: Vec<ColumnFamilySchema>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetTableDescriptorsRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) table_names: Vec<TableName>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetTableDescriptorsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) table_schema: Vec<TableSchema>,
}

/// A request without fields, such as those of the registry that masters serve.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetActiveMasterResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) server_name: Option<ServerName>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RegionLocation {
    #[prost(message, optional, tag = "2")]
    pub(crate) server_name: Option<ServerName>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetMetaRegionLocationsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) meta_locations: Vec<RegionLocation>,
}
