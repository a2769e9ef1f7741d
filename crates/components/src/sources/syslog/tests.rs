use super::*;

#[test]
fn charsets_end_lines_in_their_own_way() {
    for (name, want) in [
        ("UTF-8", LineEnd::Byte),
        ("ISO-8859-1", LineEnd::Byte),
        ("Shift_JIS", LineEnd::Byte),
        ("UTF-16", LineEnd::Utf16Be),
        ("UTF-16BE", LineEnd::Utf16Be),
        ("UTF-16LE", LineEnd::Utf16Le),
    ] {
        let (charset, _) = Charset::named(name).unwrap().resolve(&[]);
        assert_eq!(line_end(charset), want, "{name}");
    }
}

#[tokio::test]
async fn senders_are_named_as_java_names_them() {
    let messages = Messages {
        client_ip_header: Some("ip".into()),
        client_hostname_header: Some("name".into()),
        ..Messages::default()
    };
    let senders = messages.senders();
    for (peer, ip) in [
        // Addresses for documentation: nobody has a name for them.
        ("192.0.2.7:514", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:514", "192.0.2.7"),
        ("[2001:db8::7]:514", "2001:db8:0:0:0:0:0:7"),
    ] {
        let said = senders.headers(peer.parse().unwrap()).await;
        let said: Vec<String> =
            said.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said, [format!("ip={ip}"), format!("name={ip}")], "{peer}");
    }
}
