//! What an exception of a server means for the next try: HBase's rules as one table.

use crate::error::ServerException;

/// What helps after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The region is not there: forget where it was, look it up again.
    Relocate,
    /// The server has no room or is not ready: the same again, after a pause.
    Wait,
    /// The server goes or is gone: forget its connection and all its regions, look them up again.
    LeaveServer,
    /// The scanner is gone: open another behind the last row.
    Rescan,
    /// Nothing.
    Fail,
}

/// Simple names of classes, and what helps.
const TABLE: &[(&str, Remedy)] = &[
    // The region is elsewhere.
    ("NotServingRegionException", Remedy::Relocate),
    ("RegionMovedException", Remedy::Relocate),
    ("WrongRegionException", Remedy::Relocate),
    ("RegionOfflineException", Remedy::Relocate),
    ("WALClosedException", Remedy::Relocate),
    ("ClosedChannelException", Remedy::Relocate),
    // The region comes, or the server is at its limit.
    ("RegionOpeningException", Remedy::Wait),
    ("RegionInRecoveryException", Remedy::Wait),
    ("RegionTooBusyException", Remedy::Wait),
    ("CallQueueTooBigException", Remedy::Wait),
    ("CallDroppedException", Remedy::Wait),
    ("CallTimeoutException", Remedy::Wait),
    ("CallerDisconnectedException", Remedy::Wait),
    ("ServerOverloadedException", Remedy::Wait),
    ("RpcThrottlingException", Remedy::Wait),
    ("ThrottlingException", Remedy::Wait),
    ("RetryImmediatelyException", Remedy::Wait),
    ("MultiActionResultTooLarge", Remedy::Wait),
    ("PleaseHoldException", Remedy::Wait),
    ("OperationConflictException", Remedy::Wait),
    ("MasterNotRunningException", Remedy::Wait),
    // The server stops or is not up.
    ("RegionServerStoppedException", Remedy::LeaveServer),
    ("RegionServerAbortedException", Remedy::LeaveServer),
    ("ServerNotRunningYetException", Remedy::LeaveServer),
    ("NotAllMetaRegionsOnlineException", Remedy::LeaveServer),
    // The scanner is gone.
    ("UnknownScannerException", Remedy::Rescan),
    ("OutOfOrderScannerNextException", Remedy::Rescan),
    ("ScannerResetException", Remedy::Rescan),
    ("LeaseException", Remedy::Rescan),
    // The same will never do.
    ("DoNotRetryIOException", Remedy::Fail),
    ("NoSuchColumnFamilyException", Remedy::Fail),
    ("TableNotFoundException", Remedy::Fail),
    ("TableNotEnabledException", Remedy::Fail),
    ("AccessDeniedException", Remedy::Fail),
    ("ConstraintException", Remedy::Fail),
    ("FailedSanityCheckException", Remedy::Fail),
    ("RowTooBigException", Remedy::Fail),
    ("IllegalArgumentException", Remedy::Fail),
    ("UnsupportedOperationException", Remedy::Fail),
    ("UnknownProtocolException", Remedy::Fail),
    ("UnknownServiceException", Remedy::Fail),
    ("WrongVersionException", Remedy::Fail),
    ("UnsupportedCellCodecException", Remedy::Fail),
    ("UnsupportedCompressionCodecException", Remedy::Fail),
    ("UnsupportedCryptoException", Remedy::Fail),
    ("FatalConnectionException", Remedy::Fail),
    ("BadAuthException", Remedy::Fail),
    ("AuthorizationException", Remedy::Fail),
    ("InvalidToken", Remedy::Fail),
    ("CorruptHFileException", Remedy::Fail),
    ("InvalidFamilyOperationException", Remedy::Fail),
    ("QuotaExceededException", Remedy::Fail),
    ("SpaceLimitingException", Remedy::Fail),
];

/// The remedy for an exception. What the table does not know may pass.
pub(crate) fn remedy(exception: &ServerException) -> Remedy {
    let known = TABLE.iter().find(|(class, _)| *class == exception.short_class());
    match known {
        // The table goes before the flag: scanners that are gone are flagged as final, and are so
        // only for the scanner. A flag on what the table would retry is the server's last word.
        Some((_, remedy @ (Remedy::Rescan | Remedy::Fail))) => *remedy,
        _ if exception.do_not_retry => Remedy::Fail,
        Some((_, remedy)) => *remedy,
        // A region that closes answers so for a moment, before it knows that it is not serving.
        None if exception.message.contains("log is closed") => Remedy::Relocate,
        None => Remedy::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(class: &str, message: &str, do_not_retry: bool) -> ServerException {
        ServerException {
            class: class.into(),
            message: message.into(),
            do_not_retry,
            moved_to: None,
        }
    }

    #[test]
    fn each_exception_has_its_remedy() {
        let check = |class: &str, message: &str, final_: bool, want: Remedy| {
            let class = format!("org.apache.hadoop.hbase.{class}");
            assert_eq!(remedy(&exception(&class, message, final_)), want, "{class}");
        };
        for (class, want) in TABLE {
            check(class, "", false, *want);
        }
        check("NotServingRegionException", "", true, Remedy::Fail);
        check("UnknownScannerException", "", true, Remedy::Rescan);
        check("x.OtherException", "", false, Remedy::Wait);
        check("x.OtherException", "", true, Remedy::Fail);
        check("x.Outer$RegionTooBusyException", "", false, Remedy::Wait);
        check(
            "IOException",
            "Cannot append; log is closed, regionName = x",
            false,
            Remedy::Relocate,
        );
    }

    #[test]
    fn no_class_is_named_twice() {
        let mut names: Vec<_> = TABLE.iter().map(|(class, _)| class).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
