//! TLS: whom we trust where we are the client, and who we are where we are the server.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::pending::{Admission, PlacedStream};
use crate::config::Tls;
use crate::permissions::{open_believed, open_secret};

/// How often it is looked whether a certificate has changed.
const REREAD: Duration = Duration::from_secs(3600);

/// What TLS towards a server needs, read anew. `option` names `ca_file` in sentences, as `[network.hub] ca_file`.
///
/// # Errors
/// If there is no certificate authority to trust; the text says what to do.
pub(super) fn client_config(ca_file: Option<&Path>, option: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let names = || format!("{option} names {}", path.display());
            let file = open_believed(path).map_err(|why| anyhow::anyhow!("{}, {why}", names()))?;
            read_authorities(file, &mut roots)
                .with_context(|| format!("{}, which holds no certificate in PEM form", names()))?;
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            anyhow::ensure!(
                !roots.is_empty(),
                "this machine trusts no certificate authority: install ca-certificates, or name one with {option}"
            );
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_authorities(file: File, roots: &mut RootCertStore) -> anyhow::Result<()> {
    for certificate in CertificateDer::pem_reader_iter(file) {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "there is none");
    Ok(())
}

/// A certificate with its key, ready for use.
#[derive(Debug)]
pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    /// Of the files, when they were read.
    stamps: Vec<Option<Stamp>>,
}

/// Tells whether a file has changed: its inode, its length, and when it was written.
type Stamp = (u64, u64, Option<SystemTime>);

impl Loaded {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// If they cannot be used; the text names the file and says what to do.
    pub(super) fn read(files: &Tls) -> anyhow::Result<Self> {
        let stamps = stamps(files);
        let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
            anyhow::bail!("a listener under TLS needs certificate and key; name them in [tls]");
        };
        let pem = |option: &str, path: &Path| format!("{option} names {}", path.display());
        let file =
            open_believed(certificate).map_err(|why| anyhow::anyhow!("{}, {why}", pem("certificate", certificate)))?;
        let chain: Vec<_> = CertificateDer::pem_reader_iter(file)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{}, which is no PEM file", pem("certificate", certificate)))?;
        anyhow::ensure!(
            !chain.is_empty(),
            "{}, which holds no certificate in PEM form",
            pem("certificate", certificate)
        );
        let file = open_secret(key).map_err(|why| anyhow::anyhow!("{}, {why}", pem("key", key)))?;
        // What is wrong with it is not said: it is a secret.
        let private = PrivateKeyDer::from_pem_reader(file)
            .map_err(|_| anyhow::anyhow!("{}, which holds no private key in PEM form", pem("key", key)))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let names = || pem("client_ca", path);
                let file = open_believed(path).map_err(|why| anyhow::anyhow!("{}, {why}", names()))?;
                let mut roots = RootCertStore::empty();
                read_authorities(file, &mut roots)
                    .with_context(|| format!("{}, which holds no certificate in PEM form", names()))?;
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
                )
            }
        };
        let config = builder.with_single_cert(chain, private).map_err(|error| {
            anyhow::anyhow!(
                "{} and {}, which do not belong together ({error})",
                pem("certificate", certificate),
                pem("key", key)
            )
        })?;
        Ok(Self {
            config: Arc::new(config),
            stamps,
        })
    }
}

fn stamps(files: &Tls) -> Vec<Option<Stamp>> {
    let all = [&files.certificate, &files.key, &files.client_ca];
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.len(), meta.modified().ok()))
    };
    all.map(|path| path.as_ref().and_then(stamp)).to_vec()
}

/// Who we are at one listener; it may change while it listens.
#[derive(Debug)]
pub(super) struct Identity {
    /// The listener, as a sentence names it.
    name: String,
    current: Mutex<(Tls, Arc<Loaded>)>,
}

impl Identity {
    pub(super) fn new(name: String, files: Tls, loaded: Arc<Loaded>) -> Self {
        Self {
            name,
            current: Mutex::new((files, loaded)),
        }
    }

    /// For a connection that begins now.
    fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().1.config)
    }

    /// Lets somebody in who has connected; `None` if that was no TLS, or took too long.
    pub(super) async fn accept(
        &self,
        stream: PlacedStream,
        remote: SocketAddr,
        admission: &Admission,
    ) -> Option<TlsStream<PlacedStream>> {
        let shake = TlsAcceptor::from(self.server()).accept(stream);
        let failed = tokio::select! {
            shaken = shake => match shaken {
                Ok(stream) => return Some(stream),
                Err(error) => error.to_string(),
            },
            why = admission.ended() => why.to_owned(),
        };
        tracing::debug!(%remote, at = self.name, "TLS: {failed}");
        None
    }

    /// What is in force.
    pub(super) fn current(&self) -> (Tls, Arc<Loaded>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For connections from now on.
    pub(super) fn set(&self, files: Tls, loaded: Arc<Loaded>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (files, loaded);
    }

    /// Reads the files again if one has changed. What cannot be used changes nothing, and is said once.
    pub(super) fn reread(&self) {
        let (files, loaded) = self.current();
        let now = stamps(&files);
        if now == loaded.stamps {
            return;
        }
        match Loaded::read(&files) {
            Ok(new) => {
                tracing::info!("{} has its new certificate", self.name);
                self.set(files, Arc::new(new));
            }
            Err(error) => {
                tracing::warn!(
                    "{} keeps its certificate, for the new one cannot be used: {error:#}",
                    self.name
                );
                // It is looked at again when it changes once more.
                let old = Loaded {
                    config: Arc::clone(&loaded.config),
                    stamps: now,
                };
                self.set(files, Arc::new(old));
            }
        }
    }
}

/// Looks from time to time whether a certificate has changed.
pub(super) async fn reread(identity: Arc<Identity>) {
    // At once too: the address may have come long after the certificate was read.
    let mut hours = tokio::time::interval(REREAD);
    loop {
        hours.tick().await;
        let identity = Arc::clone(&identity);
        // The disk may be slow.
        let _ = tokio::task::spawn_blocking(move || identity.reread()).await;
    }
}
