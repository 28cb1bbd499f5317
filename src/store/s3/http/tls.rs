//! [`Tls`]: which servers are who they say they are.

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem};
use futures_rustls::rustls::{self, ClientConfig, RootCertStore};
use futures_util::{AsyncRead, AsyncWrite};
use std::io;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// What is needed to speak TLS. It is made when it is first needed.
pub(super) struct Tls {
    roots: RootCertStore,
    config: OnceLock<Result<Arc<ClientConfig>, Untrusted>>,
}

/// Why no connection can be trusted.
#[derive(Clone, Debug, Error)]
pub(super) enum Untrusted {
    #[error("a certificate cannot be read")]
    Pem(#[source] Arc<pem::Error>),
    #[error("a certificate cannot be trusted")]
    Certificate(#[source] rustls::Error),
    #[error("there is no certificate")]
    Nothing,
    #[error("no certificate can be for this host")]
    Host(#[source] Arc<InvalidDnsNameError>),
}

impl Tls {
    pub(super) fn of_the_web() -> Self {
        Self { roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, config: OnceLock::new() }
    }

    pub(super) fn of_certificates(pem: &[u8]) -> Result<Self, Untrusted> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| Untrusted::Pem(Arc::new(error)))?;
            roots.add(certificate).map_err(Untrusted::Certificate)?;
        }
        if roots.is_empty() {
            return Err(Untrusted::Nothing);
        }
        Ok(Self { roots, config: OnceLock::new() })
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Untrusted> {
        let made = self.config.get_or_init(|| {
            // Named, so that it does not matter which others are part of the program.
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = builder.map_err(Untrusted::Certificate)?;
            Ok(Arc::new(builder.with_root_certificates(self.roots.clone()).with_no_client_auth()))
        });
        made.clone()
    }

    /// Agrees with the server at the other end, if it is the one it is to be.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<io::Result<TlsStream<S>>, Untrusted> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| Untrusted::Host(Arc::new(error)))?;
        Ok(TlsConnector::from(self.config()?).connect(name, stream).await)
    }
}
