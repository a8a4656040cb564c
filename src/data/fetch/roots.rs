//! The certificate authorities that a download trusts: the machine's own, so that a company's proxy is one of them.

use std::env;
use std::sync::Arc;

use rustls_native_certs::{CertificateResult, load_native_certs};
use ureq::tls::{Certificate, RootCerts};

/// What names other authorities than the system's, here as for OpenSSL and curl.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, else the system's, else (a machine without any) Mozilla's.
pub(super) fn root_certificates() -> RootCerts {
    let CertificateResult { certs, errors, .. } = load_native_certs();
    let named: Vec<String> = VARIABLES
        .into_iter()
        .filter_map(|name| env::var(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}")))
        .collect();
    if !named.is_empty() {
        for error in errors {
            tracing::warn!("{}: {error}", named.join(" "));
        }
    }
    if certs.is_empty() {
        if !named.is_empty() {
            tracing::warn!("{}: no certificates there; trusting Mozilla's authorities", named.join(" "));
        }
        return RootCerts::WebPki;
    }
    RootCerts::Specific(Arc::new(certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect()))
}
