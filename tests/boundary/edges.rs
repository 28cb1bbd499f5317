//! The calls of the three sides.

use super::{Boundary, Call, Edge, Fault, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use posix_s3::engine::{Part, StateRead, StateStore, StateWrite, Syncer};
use posix_s3::store::{
    Body, Capabilities, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, ObjectStore, Operation, Precondition,
    PutOptions, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::{
    Applied, Data, Found, Look, NameList, OpenFile, Place, Present, Residence, SourceError, Standing, Tree, TreeError,
    TreeOp, Visit,
};
use posix_s3::{Entry, Key, KeyList, Timestamp};
use std::future::Future;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

// --------------------------------------------------------------------------------------------------- the store

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::List => "list",
        Operation::Head => "head",
        Operation::Get => "get",
        Operation::Put => "put",
        Operation::ReplaceMetadata => "replace_metadata",
        Operation::Delete => "delete",
    }
}

impl Edge {
    async fn ask<T>(
        &self,
        operation: Operation,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.0.turn().await;
        match self.0.before(Call::Store(name(operation)), key) {
            Some(Fault::Store(kind)) => return Err(StoreError::new(operation, key, kind)),
            Some(_) => return Err(StoreError::new(operation, key, StoreErrorKind::Transient)),
            None => {}
        }
        let answer = call.await;
        self.0.turn().await;
        answer
    }

    async fn change<T>(
        &self,
        request: Request,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (boundary, operation, key) = (&self.0, request.operation, request.key.clone());
        let number = boundary.store_changes.fetch_add(1, Relaxed);
        boundary.on_the_way.lock().unwrap().insert(number, request);
        boundary.changed();
        boundary.turn().await;
        let fault = boundary.before(Call::Store(name(operation)), &key);
        boundary.turn().await;
        boundary.on_the_way.lock().unwrap().remove(&number);
        boundary.changed();
        if let Some(Fault::Store(kind)) = fault {
            return Err(StoreError::new(operation, &key, kind));
        }
        let answer = call.await;
        boundary.effects.fetch_add(answer.is_ok().into(), Relaxed);
        boundary.after();
        boundary.turn().await;
        if fault.is_some() { Err(StoreError::new(operation, &key, StoreErrorKind::Transient)) } else { answer }
    }
}

impl ObjectStore for Edge {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let shorter = ListRequest { max_keys: Some(request.max_keys.unwrap_or(3)), ..request.clone() };
        self.ask(Operation::List, &request.prefix, self.0.store.list(&shorter)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.ask(Operation::Head, key, self.0.store.head(key)).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.ask(Operation::Get, key, self.0.store.get(key, options)).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let bytes = match body.read(0, usize::MAX).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error)),
        };
        let request =
            Request { operation: Operation::Put, key: key.into(), body: bytes.clone(), options: options.clone() };
        self.change(request, self.0.store.put(key, Body::Bytes(bytes), options)).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let operation = Operation::ReplaceMetadata;
        let request = Request { operation, key: key.into(), body: Bytes::new(), options: options.clone() };
        self.change(request, self.0.store.replace_metadata(key, options)).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let options = PutOptions { precondition: precondition.clone(), ..PutOptions::default() };
        let request = Request { operation: Operation::Delete, key: key.into(), body: Bytes::new(), options };
        self.change(request, self.0.store.delete(key, precondition)).await
    }
}

// ---------------------------------------------------------------------------------------------------- the tree

fn tree_error(fault: Fault, attempt: &'static str, key: &str) -> Option<TreeError> {
    let Fault::Tree(kind, errno) = fault else { return None };
    let error = TreeError::new(attempt, key.as_bytes(), kind);
    Some(match errno {
        Some(errno) => error.with_source(io::Error::from_raw_os_error(errno)),
        None => error,
    })
}

impl Edge {
    fn fails(&self, call: &'static str, key: &str) -> Result<(), TreeError> {
        let fault = self.0.before(Call::Tree(call), key);
        fault.and_then(|fault| tree_error(fault, call, key)).map_or(Ok(()), Err)
    }

    async fn look_into<T>(
        &self,
        name: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, TreeError> {
        self.fails(name, key)?;
        call.await
    }

    async fn alter<T>(
        &self,
        name: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, TreeError> {
        self.0.turn().await;
        self.0.tree_changes.fetch_add(1, Relaxed);
        self.fails(name, key)?;
        let answer = call.await;
        self.0.effects.fetch_add(answer.is_ok().into(), Relaxed);
        self.0.changed();
        self.0.after();
        self.0.turn().await;
        answer
    }
}

const fn key_of(op: &TreeOp) -> (&'static str, &Key) {
    match op {
        TreeOp::CreateDirectory { key, .. } => ("create_directory", key),
        TreeOp::CreateSymlink { entry, .. } => ("create_symlink", entry.key()),
        TreeOp::CreatePlaceholder { entry, .. } => ("create_placeholder", entry.key()),
        TreeOp::Release { entry, .. } => ("release", entry.key()),
        TreeOp::SetAttributes { entry, .. } => ("set_attributes", entry.key()),
        TreeOp::SetTimes { key, .. } => ("set_times", key),
        TreeOp::Remove { key, .. } => ("remove", key),
        TreeOp::Rename { key, .. } => ("rename", key),
        _ => panic!("an operation that is not known here"),
    }
}

impl Tree for Edge {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        let key = directory.map_or("", Key::as_str);
        self.look_into("list", key, self.0.tree.list(directory)).await
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, mut visitor: V) -> V {
        let first = keys.iter().next().unwrap_or_default().to_owned();
        if let Some(fault) = self.0.before(Call::Tree("look"), &first) {
            for (at, key) in keys.iter().enumerate() {
                visitor.visit(at, Look::Failed(tree_error(fault, "looking at", key).unwrap()));
            }
            return visitor;
        }
        self.0.tree.look(keys, place, visitor).await
    }

    fn now(&self) -> Timestamp {
        self.0.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        self.fails("identity", "")?;
        self.0.tree.identity()
    }

    fn keeps_directory_times(&self) -> bool {
        self.0.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.fails("may_have_placeholders", "")?;
        self.0.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        self.look_into("lookup", key.as_str(), self.0.tree.lookup(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        let file = self.look_into("open", key.as_str(), self.0.tree.open(key)).await?;
        Ok(Arc::new(EdgeFile { file, edge: self.clone() }))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.alter("write_file", entry.key().as_str(), self.0.tree.write_file(entry, body, standing)).await
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let (name, key) = key_of(op);
        self.alter(name, key.as_str(), self.0.tree.apply(op)).await
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.look_into("begin", "", self.0.tree.begin()).await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.look_into("sync", "", self.0.tree.sync()).await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.look_into("finish", "", self.0.tree.finish()).await
    }
}

struct EdgeFile {
    file: Arc<dyn OpenFile>,
    edge: Edge,
}

impl EdgeFile {
    fn fails(&self, call: &'static str) -> Result<(), TreeError> {
        self.edge.fails(call, self.file.found().entry.key().as_str())
    }
}

impl OpenFile for EdgeFile {
    fn found(&self) -> &Found {
        self.file.found()
    }

    fn residence(&self) -> &Residence {
        self.file.residence()
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        let failed = self.fails("data");
        Box::pin(async {
            failed?;
            self.file.data().await
        })
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        let failed = self.fails("again");
        Box::pin(async {
            failed?;
            self.file.again().await
        })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        let failed = self.fails("read");
        Box::pin(async move {
            failed?;
            self.file.read(offset, length).await
        })
    }
}

// --------------------------------------------------------------------------------------------------- the state

fn shown(part: Part) -> &'static str {
    match part {
        Part::Snapshot => "the snapshot",
        Part::Next => "the next snapshot",
        Part::Journal => "the journal",
        _ => "another part",
    }
}

fn state_call(boundary: &Boundary, call: &'static str, part: Part) -> io::Result<()> {
    match boundary.before(Call::State(call), shown(part)) {
        Some(Fault::State(kind)) => Err(kind.into()),
        _ => Ok(()),
    }
}

impl StateStore for Edge {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        state_call(&self.0, "open", part)?;
        let read = |bytes| Box::new(EdgeRead { read: Cursor::new(bytes), edge: self.clone(), part });
        Ok(self.0.part(part).map(|bytes| read(bytes) as Box<dyn StateRead>))
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        state_call(&self.0, "create", part)?;
        let file = self.0.disk.lock().unwrap().create(part);
        self.0.changed();
        self.0.after();
        Ok(Box::new(EdgeWrite { file, edge: self.clone(), part }))
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        state_call(&self.0, "remove", part)?;
        self.0.disk.lock().unwrap().remove(part);
        self.0.changed();
        self.0.after();
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        state_call(&self.0, "publish", Part::Next)?;
        let published = self.0.disk.lock().unwrap().publish();
        self.0.changed();
        self.0.after();
        if published { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

struct EdgeRead {
    read: Cursor<Vec<u8>>,
    edge: Edge,
    part: Part,
}

impl Read for EdgeRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        state_call(&self.edge.0, "read", self.part)?;
        self.read.read(buffer)
    }
}

impl Seek for EdgeRead {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.read.seek(to)
    }
}

struct EdgeWrite {
    file: usize,
    edge: Edge,
    part: Part,
}

impl Write for EdgeWrite {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        // Half of it arrives, and then nothing more does; of what is interrupted, nothing has arrived.
        let called = state_call(&self.edge.0, "write", self.part);
        let piece = match &called {
            Ok(()) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => &[],
            Err(_) => &piece[..piece.len() / 2],
        };
        self.edge.0.disk.lock().unwrap().write(self.file, piece);
        self.edge.0.changed();
        self.edge.0.after();
        called.map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateWrite for EdgeWrite {
    fn syncer(&self) -> Syncer {
        let (file, edge, part) = (self.file, self.edge.clone(), self.part);
        Arc::new(move || {
            let edge = edge.clone();
            Box::pin(async move {
                edge.0.turn().await;
                state_call(&edge.0, "sync", part)?;
                edge.0.disk.lock().unwrap().sync(file);
                edge.0.changed();
                edge.0.after();
                edge.0.turn().await;
                Ok(())
            })
        })
    }
}
