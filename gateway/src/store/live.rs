//! What changes while the gateway runs: where phones are registered, and which calls there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use quartet_proto::net::{ConnectionId, FiveTuple, Protocol};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Row, Transaction, TransactionBehavior, params};

use super::{Store, StoreError};
use crate::cdr::{By, Cause, Direction, Record, Verdict};

/// A binding of the registrar, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBinding {
    /// The phone's own URI.
    pub contact: String,
    /// `+sip.instance` and `reg-id`, if the phone told.
    pub sip_instance: Option<String>,
    /// The way to it; a connection does not outlive the process.
    pub five_tuple: FiveTuple,
    /// Where its latest REGISTER came from.
    pub source: SocketAddr,
    /// Where the phone is, below trusted proxies; `None` in a file of an earlier program.
    pub origin: Option<IpAddr>,
    /// The proxies on the way to it, as `Path` named them.
    pub path: Vec<String>,
    /// The `Call-ID` of that REGISTER.
    pub call_id: String,
    /// Its `CSeq`.
    pub cseq: u32,
    /// The phone's `User-Agent`, if it told.
    pub user_agent: Option<String>,
    /// Tells whether the account's password is still the one that the phone knew.
    pub credential: u32,
    /// When the binding ends, in seconds since 1970-01-01 UTC.
    pub expires: u64,
    /// How many seconds were left when it was written; `None` in a file of an earlier program.
    pub seconds_left: Option<u32>,
}

/// Stands between two proxies in the file: a header field has no line end.
const PATH_BETWEEN: &str = "\n";

/// What one transaction writes.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Accounts with all bindings they have now, the one registered last at the end.
    pub bindings: &'a BTreeMap<String, Vec<StoredBinding>>,
    /// Calls that run, each with what is to be recorded of it if the process dies.
    pub calls: &'a [Record],
    /// Calls whose record is written.
    pub ended: &'a BTreeSet<String>,
}

impl Store {
    /// The bindings of all accounts, in the order in which [`Batch`] gave them.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn bindings(&self) -> Result<BTreeMap<String, Vec<StoredBinding>>, StoreError> {
        let read = || {
            let sql = "SELECT user, contact, phone, destination, local, source, call_id, cseq, user_agent, credential, \
                       expires, protocol, seconds_left, origin, path FROM bindings ORDER BY user, position";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut all = BTreeMap::<String, Vec<_>>::new();
            while let Some(row) = rows.next()? {
                match binding(row) {
                    Ok(binding) => all.entry(row.get(0)?).or_default().push(binding),
                    Err(error) => tracing::warn!(%error, "a binding of the state file cannot be read and is left out"),
                }
            }
            Ok(all)
        };
        read().map_err(|error| self.fail(error))
    }

    /// The calls that ran when the process that wrote them ended, each as it is to be recorded now: as crashed.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn calls(&self) -> Result<Vec<Record>, StoreError> {
        let read = || {
            let sql = r#"SELECT call, start_ms, answer_ms, end_ms, "from", "to", direction, network, route, verdict, shown
                         FROM calls ORDER BY start_ms, call"#;
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                match crashed(row) {
                    Ok(record) => all.push(record),
                    Err(error) => tracing::warn!(%error, "a call of the state file cannot be read and is left out"),
                }
            }
            Ok(all)
        };
        read().map_err(|error| self.fail(error))
    }

    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError`] if nothing was written.
    pub fn write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut write = || {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            write_bindings(&transaction, batch.bindings)?;
            write_calls(&transaction, batch)?;
            transaction.commit()
        };
        write().map_err(|error| StoreError::from_sqlite(&self.path, error))
    }
}

fn write_bindings(
    transaction: &Transaction<'_>,
    bindings: &BTreeMap<String, Vec<StoredBinding>>,
) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM bindings WHERE user = ?1")?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO bindings (user, position, contact, phone, destination, local, protocol, source, call_id, cseq, \
         user_agent, credential, expires, seconds_left, origin, path) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    for (user, bindings) in bindings {
        delete.execute([user])?;
        for (position, b) in bindings.iter().enumerate() {
            let FiveTuple {
                protocol,
                local,
                remote,
                ..
            } = b.five_tuple;
            insert.execute(params![
                user,
                i64::try_from(position).unwrap_or(i64::MAX),
                b.contact,
                b.sip_instance,
                remote.to_string(),
                local.to_string(),
                protocol.scheme(),
                b.source.to_string(),
                b.call_id,
                b.cseq,
                b.user_agent,
                b.credential,
                i64::try_from(b.expires).unwrap_or(i64::MAX),
                b.seconds_left,
                b.origin.map(|origin| origin.to_string()),
                (!b.path.is_empty()).then(|| b.path.join(PATH_BETWEEN)),
            ])?;
        }
    }
    Ok(())
}

fn write_calls(transaction: &Transaction<'_>, batch: &Batch<'_>) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM calls WHERE call = ?1")?;
    for call in batch.ended {
        delete.execute([call])?;
    }
    let mut insert = transaction.prepare_cached(
        r#"INSERT OR REPLACE INTO calls (call, start_ms, answer_ms, end_ms, "from", "to", direction, network, route, verdict,
                                            shown)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"#,
    )?;
    for record in batch.calls {
        insert.execute(params![
            record.call,
            Milliseconds(record.start),
            record.answer.map(Milliseconds),
            Milliseconds(record.end),
            record.from,
            record.to,
            record.direction.word(),
            record.network,
            record.route,
            record.verdict.word(),
            record.shown,
        ])?;
    }
    Ok(())
}

fn binding(row: &Row<'_>) -> rusqlite::Result<StoredBinding> {
    let address = |column| text(row, column, |text| text.parse().ok());
    let protocol: Protocol = text(row, 11, |text| text.parse().ok())?;
    Ok(StoredBinding {
        contact: row.get(1)?,
        sip_instance: row.get(2)?,
        five_tuple: FiveTuple {
            connection: protocol.is_reliable().then_some(ConnectionId::GONE),
            ..FiveTuple::new(protocol, address(4)?, address(3)?)
        },
        source: address(5)?,
        call_id: row.get(6)?,
        cseq: row.get(7)?,
        user_agent: row.get(8)?,
        credential: row.get(9)?,
        expires: u64::try_from(row.get::<_, i64>(10)?).unwrap_or(0),
        seconds_left: row.get(12)?,
        origin: row.get::<_, Option<String>>(13)?.and_then(|text| text.parse().ok()),
        path: row
            .get::<_, Option<String>>(14)?
            .map_or_else(Vec::new, |path| path.split(PATH_BETWEEN).map(str::to_owned).collect()),
    })
}

fn crashed(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        call: row.get(0)?,
        start: row.get::<_, Milliseconds>(1)?.0,
        answer: row.get::<_, Option<Milliseconds>>(2)?.map(|time| time.0),
        end: row.get::<_, Milliseconds>(3)?.0,
        from: row.get(4)?,
        to: row.get(5)?,
        shown: row.get(10)?,
        direction: text(row, 6, Direction::from_word)?,
        network: row.get(7)?,
        route: row.get(8)?,
        cause: Cause::Crashed.word(),
        by: By::Gateway,
        count: 1,
        transfers: Vec::new(),
        verdict: text(row, 9, Verdict::from_word)?,
        legs: Vec::new(),
    })
}

/// Reads a column whose text stands for something else.
fn text<T>(row: &Row<'_>, column: usize, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    read(&text)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "unknown word or address".into()))
}

/// A time in milliseconds since 1970-01-01 UTC, earlier ones below zero.
struct Milliseconds(SystemTime);

impl ToSql for Milliseconds {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let ms = match self.0.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Ok(ms.into())
    }
}

impl FromSql for Milliseconds {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let ms = value.as_i64()?;
        let distance = Duration::from_millis(ms.unsigned_abs());
        let time = if ms < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        time.map(Self).ok_or(FromSqlError::OutOfRange(ms))
    }
}
