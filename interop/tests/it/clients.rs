//! Programs that people use to send: rsyslog to the sources of syslog, curl to that of HTTP.

mod curl;
mod rsyslog;
