import { getCACertificates } from "node:tls";

let read: Buffer | undefined;

/**
 * The certificates that this machine trusts, as PEM: those of the operating system (on Linux SSL_CERT_FILE and
 * SSL_CERT_DIR, else what OpenSSL is set to, /etc/ssl), and NODE_EXTRA_CA_CERTS. Where the system has none, as in
 * small containers, those of Mozilla that come with Node. Read once, which takes about 0.3 s.
 */
export function systemCertificates(): Buffer {
  read ??= readCertificates();
  return read;
}

function readCertificates(): Buffer {
  const system = getCACertificates("system");
  const trusted = new Set([
    ...(system.length > 0 ? system : getCACertificates("bundled")),
    ...getCACertificates("extra"),
  ]);
  return Buffer.from([...trusted].join("\n"));
}
