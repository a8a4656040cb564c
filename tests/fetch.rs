//! `pdarts data fetch` behind a proxy with a certificate authority of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use assert_cmd::Command;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// A server with a certificate of the authority whose own certificate lies in `folder/ca.pem`. Returns its address.
fn serve(folder: &Path) -> String {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut lines = BufReader::new(&mut stream).lines();
            // A client that does not trust us leaves.
            if lines.by_ref().take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).count() > 0 {
                drop(lines);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// The line that the call fails with.
fn failure(folder: &Path, url: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::cargo_bin("pdarts").unwrap();
    command.current_dir(folder).args(["--log", "error", "data", "fetch", "cifar10", "--dir", "data", "--url", url]);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).assert().code(1).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn authority_that_the_user_names_is_trusted() {
    let folder = TempDir::new().unwrap();
    let url = serve(folder.path());
    let line = failure(folder.path(), &url, &[]);
    assert!(line.contains("UnknownIssuer") && line.contains("set SSL_CERT_FILE"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");

    // Trusted: the bytes come, and are not the archive.
    let line = failure(folder.path(), &url, &[("SSL_CERT_FILE", "ca.pem")]);
    assert!(line.contains("has the MD5 sum"), "{line}");
    let certificates = folder.path().join("certificates");
    fs::create_dir(&certificates).unwrap();
    fs::copy(folder.path().join("ca.pem"), certificates.join("0a1b2c3d.0")).unwrap();
    let line = failure(folder.path(), &url, &[("SSL_CERT_DIR", "certificates")]);
    assert!(line.contains("has the MD5 sum"), "{line}");
}
