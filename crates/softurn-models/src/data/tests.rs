//! Every format against known values, and no file, however broken, may panic, allocate what it only claims to hold, or be
//! reported on more than one line. `fixtures/` is written by NumPy: see `fixtures/make.py`.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ndarray::{Array2, array};
use proptest::prelude::*;
use softurn_kernels::Key;
use tempfile::TempDir;

use super::array::half_to_f32;
use super::*;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures").join(name).to_string_lossy().into_owned()
}

fn embedded(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name).to_string_lossy().into_owned()
}

/// A folder that is removed in the end, and its files.
pub(super) struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_string_lossy().into_owned()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn idx(code: u8, shape: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, shape.len() as u8];
    shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

pub(super) fn npy(header: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes().chain(payload.iter().copied()));
    bytes
}

/// The message of the error, which is one line that begins with an argument.
#[track_caller]
pub(super) fn message<T>(result: Result<T, DataError>) -> String {
    let Err(error) = result else { panic!("no error") };
    let message = error.to_string();
    assert!(is_one_line(&message), "{message:?}");
    message
}

fn is_one_line(message: &str) -> bool {
    !message.chars().any(char::is_control)
        && ["--data: ", "--labels: ", "--label-column: ", "--rows: ", "--factors: ", "--factor-sizes: ", "--shared: "]
            .iter()
            .any(|start| message.starts_with(start))
}

#[track_caller]
pub(super) fn says<T>(result: Result<T, DataError>, start: &str, part: &str) {
    let message = message(result);
    assert!(message.starts_with(start) && message.contains(part), "{message}");
}

#[test]
fn embedded_sets_are_whole() {
    let digits = load("digits", None).unwrap();
    assert_eq!((digits.rows(), digits.cols(), digits.kind()), (1797, 64, Kind::Images));
    assert_eq!(digits.image(), Some(ImageShape { height: 8, width: 8, channels: 1 }));
    // sklearn.datasets.load_digits(): data[0, :8] is 0 0 5 13 9 1 0 0, data.sum() is 561718, target[:5] is 0..4.
    assert_eq!(digits.values()[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|count| count / 16.0));
    assert_eq!(digits.values().iter().map(|&value| f64::from(value) * 16.0).sum::<f64>(), 561_718.0);
    let labels = digits.labels().unwrap();
    assert_eq!(labels.counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    assert_eq!((&labels.ids()[..5], &labels.names()[9][..]), (&[0, 1, 2, 3, 4][..], "9"));

    let iris = load("iris", None).unwrap();
    assert_eq!((iris.rows(), iris.cols(), iris.kind(), iris.image()), (150, 4, Kind::Table, None));
    assert_eq!(iris.labels().unwrap().names(), ["setosa", "versicolor", "virginica"]);
    assert_eq!(iris.values()[..4], [5.1, 3.5, 1.4, 0.2]);

    let wine = load("wine", Some(178)).unwrap();
    assert_eq!((wine.rows(), wine.cols(), wine.labels().unwrap().counts()), (178, 13, vec![59, 71, 48]));
    assert_eq!(load_labels("wine").unwrap(), *wine.labels().unwrap());
    assert_eq!(load("digits", Some(10)).unwrap(), digits.clone().take_rows(10).unwrap());
    assert!(matches!(load("digits", Some(1798)), Err(DataError::Rows { asked: 1798, available: 1797, .. })));
}

#[test]
fn a_data_set_keeps_its_promises() {
    let data = Dataset::table("t", array![[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]).unwrap();
    // The deviation is sqrt(2 / 3).
    assert_eq!(data.standardized().values(), [-1.2247449, 0.0, 0.0, 0.0, 1.2247449, 0.0]);
    // By the scales of other rows: 2 and 1 over sqrt(2 / 3), 7 and nothing; as an embedding 1 over the root of (2 / 3 + 0) / 2.
    let more = Dataset::table("m", array![[4.0, 9.0], [2.0, 7.0]]).unwrap();
    assert_eq!(more.scaled_like(&data).values(), [2.449_489_8, 0.0, 0.0, 0.0]);
    let embedded = more.into_embedding().unwrap().scaled_like(&data.clone().into_embedding().unwrap());
    assert_eq!(embedded.values(), [3.464_101_6, 3.464_101_6, 0.0, 0.0]);
    let digits = load("digits", Some(3)).unwrap();
    assert_eq!(digits.scaled_like(&digits), digits);
    // A column-major matrix comes out row after row.
    let columns = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes();
    assert_eq!(Dataset::table("t", columns).unwrap().values(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);

    assert_eq!(message(data.clone().take_rows(0)), "--rows: 0 rows asked for, 't' has 3");
    assert_eq!(message(data.clone().take_rows(4)), "--rows: 4 rows asked for, 't' has 3");
    let labels = Labels::from_integers(&[5, 6, 5]);
    assert_eq!(message(data.clone().with_labels(Labels::from_integers(&[1, 2]))), "--labels: 2 labels for 3 rows");
    let labelled = data.clone().with_labels(labels.clone()).unwrap().take_rows(2).unwrap();
    assert_eq!((labelled.values(), labelled.labels().unwrap().ids()), (&[1.0, 7.0, 2.0, 7.0][..], &[0, 1][..]));
    // Labels of all the rows serve the first ones.
    assert_eq!(data.clone().take_rows(2).unwrap().with_labels(labels).unwrap(), labelled);
    says(data.take_rows(1).unwrap().with_labels(Labels::from_integers(&[1, 2])), "--labels: ", "2 labels for 1 rows");

    says(Dataset::table("t", array![[1.0, f32::NAN]]), "--data: 't' row 0, column 1 ", "NaN is not a finite number");
    says(Dataset::table("t", array![[1.0], [f32::INFINITY]]), "--data: 't' row 1, column 0 ", "inf is not");
    says(Dataset::table("t", Array2::zeros((0, 2))), "--data: 't' is empty", "0 rows of 2 values");
    says(Dataset::table("t", Array2::zeros((2, 0))), "--data: 't' is empty", "2 rows of 0 values");

    let shape = ImageShape { height: 1, width: 2, channels: 1 };
    assert_eq!(Dataset::images("i", array![[0.0, 3.0], [6.0, 0.0]], shape).unwrap().values(), [0.0, 0.5, 1.0, 0.0]);
    assert_eq!(Dataset::images("i", array![[0.0, 0.0]], shape).unwrap().values(), [0.0, 0.0]);
    says(Dataset::images("i", array![[0.0, -3.0]], shape), "--data: ", "pixel 1 of image 0 is negative");
    says(Dataset::images("i", array![[0.0]], shape), "--data: ", "rows of 1 values");
    says(Labels::new(vec![0, 2], vec!["a".into(), "b".into()]), "--labels: ", "label 2 of row 1");
    let texts = |texts: &[&str]| Labels::from_texts(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    assert_eq!(texts(&["10", "9", "10"]).names(), ["9", "10"]);
    assert_eq!(texts(&["10", "9", "b"]).names(), ["10", "9", "b"]);
}

#[test]
fn idx_files() {
    let folder = Folder::new();
    let images: Vec<u8> = (0..24).map(|i| i * 10).collect();
    let bytes = idx(8, &[4, 2, 3], &images);
    let plain = folder.write("a-ubyte", &bytes);
    for path in [&plain, &folder.write("a.IDX", &bytes), &folder.write("a.idx.gz", gzip(&bytes))] {
        let data = load(path, None).unwrap();
        assert_eq!((data.kind(), data.image()), (Kind::Images, Some(ImageShape { height: 2, width: 3, channels: 1 })));
        assert_eq!(data.features()[[3, 5]], 1.0);
        assert_eq!(data.features()[[1, 2]], 80.0 / 230.0);
        assert_eq!(load(path, Some(4)).unwrap(), data);
        // Scaled by the largest of the rows that are read.
        assert_eq!(load(path, Some(2)).unwrap().values()[11], 1.0);
        assert_eq!(load(path, Some(2)).unwrap().with_labels(Labels::from_integers(&[0; 4])).unwrap().rows(), 2);
        says(load(path, Some(5)), "--rows: 5 rows asked for", "has 4");
        says(load(path, Some(0)), "--rows: 0 rows asked for", "has 4");
    }
    let floats: Vec<u8> = [1.5_f32, -2.0, 3.0, 1e-3].iter().flat_map(|value| value.to_be_bytes()).collect();
    let table = load(&folder.write("b-float", idx(0x0d, &[2, 2], &floats)), None).unwrap();
    assert_eq!((table.kind(), table.values()), (Kind::Table, &[1.5, -2.0, 3.0, 1e-3][..]));
    // Negative pixels have no scale.
    let negative = load(&folder.write("c-float", idx(0x0d, &[1, 2, 2], &floats)), None).unwrap();
    assert_eq!((negative.kind(), negative.values()), (Kind::Table, &[1.5, -2.0, 3.0, 1e-3][..]));
    let colour = load(&folder.write("d-ubyte", idx(8, &[2, 2, 1, 3], &images[..12])), None).unwrap();
    assert_eq!(colour.image(), Some(ImageShape { height: 2, width: 1, channels: 3 }));
    assert_eq!(load(&folder.write("e.idx", idx(8, &[3], &[1, 2, 3])), None).unwrap().features().dim(), (3, 1));

    let short = folder.write("f-ubyte", &bytes[..20]);
    says(load(&short, None), "--data: cannot read ", "unexpected end of data after 20 bytes");
    let truncated = gzip(&bytes);
    let truncated = folder.write("g-ubyte.gz", &truncated[..truncated.len() - 3]);
    says(load(&truncated, None), "--data: cannot read ", "unexpected end of gzip data after 40 bytes");
    // The end is not looked at when the rows wanted come before it.
    assert_eq!(load(&truncated, Some(2)).unwrap().rows(), 2);
    let long = [&bytes[..], &[0]].concat();
    says(load(&folder.write("h-ubyte", &long), None), "--data: ", "bytes are left over after the expected 40");
    says(load(&folder.write("h-ubyte.gz", gzip(&long)), None), "--data: ", "bytes are left over");
    says(load(&folder.write("i-ubyte.gz", &bytes), None), "--data: cannot read ", "corrupt gzip data");
    says(load(&folder.write("j-ubyte", gzip(&bytes)), None), "--data: ", "is malformed: starts with [1f, 8b");
    says(load(&folder.write("k-ubyte", idx(0x0c, &[1, 1], &[0; 4])), None), "--data: ", "elements of type 'i32'");
    says(load(&folder.write("l-ubyte", idx(8, &[1; 5], &[0])), None), "--data: ", "has 5 dimensions");
    says(load(&folder.write("m-ubyte", idx(8, &[0, 4], &[])), None), "--data: ", "is empty: 0 rows of 4 values");
    says(load(&folder.write("n-ubyte", idx(8, &[4, 0], &[])), None), "--data: ", "is empty: 4 rows of 0 values");
    says(load(&folder.write("o-ubyte", ""), None), "--data: cannot read ", "unexpected end of data after 0 bytes");
}

#[test]
fn numpy_arrays() {
    // NumPy: a[i, j, k] = (6 i + 3 j + k) / 2, stored with i running fastest.
    let fortran = load(&fixture("f8_fortran_3d.npy"), None).unwrap();
    assert_eq!(fortran.kind(), Kind::Table);
    assert_eq!(fortran.values(), (0..24).map(|i| i as f32 / 2.0).collect::<Vec<_>>());
    assert_eq!(load(&fixture("f8_fortran_3d.npy"), Some(3)).unwrap().values(), &fortran.values()[..18]);
    assert_eq!(load(&fixture("i2_big_endian.npy"), None).unwrap().values(), [1.0, -2.0, 300.0, 4.0]);
    let half = load(&fixture("f2.npy"), None).unwrap();
    assert_eq!(half.values(), [1.0, -2.5, 65504.0, 5.9604645e-8, 0.099975586, -0.0]);
    assert_eq!([half_to_f32(0x7c00), half_to_f32(0xfc00)], [f32::INFINITY, f32::NEG_INFINITY]);
    assert!(half_to_f32(0x7e00).is_nan());
    let images = load(&fixture("u1_images.npy"), None).unwrap();
    assert_eq!(images.image(), Some(ImageShape { height: 2, width: 2, channels: 3 }));
    assert_eq!(images.features()[[2, 11]], 1.0);

    let folder = Folder::new();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
    let bytes = npy(header, &[0, 0, 128, 63, 0, 0, 0, 64]);
    assert_eq!(load(&folder.write("a.npy.gz", gzip(&bytes)), None).unwrap().values(), [1.0, 2.0]);
    for same in [
        "{\"shape\":(2,1),\"descr\":\"<f4\",\"fortran_order\":False}",
        "  { 'fortran_order' : False , 'shape' : ( 2 , 1 ) , 'descr' : '<f4' }  \n",
    ] {
        let path = folder.write("b.npy", npy(same, &bytes[bytes.len() - 8..]));
        assert_eq!(load(&path, None).unwrap().values(), [1.0, 2.0]);
    }
    for (size, kind) in [(1, "u1"), (2, "u2"), (4, "u4"), (8, "u8"), (1, "i1"), (2, "i2"), (4, "i4"), (8, "i8")] {
        for (order, payload) in [("<", [7, 0, 0, 0, 0, 0, 0, 0]), (">", [0, 0, 0, 0, 0, 0, 0, 7])] {
            let payload = if order == "<" { &payload[..size] } else { &payload[8 - size..] };
            let header = format!("{{'descr': '{order}{kind}', 'fortran_order': True, 'shape': (1,), }}");
            let path = folder.write("c.npy", npy(&header, payload));
            assert_eq!(load(&path, None).unwrap().values(), [7.0], "{order}{kind}");
            assert_eq!(load_labels(&path).unwrap().names(), ["7"], "{order}{kind}");
        }
    }
    for (name, dtype) in [("text", "<U1"), ("complex", "<c16"), ("records", "[('a', '<i4'), ('b', '<f8')]")] {
        let path = fixture(&format!("{name}.npy"));
        says(load(&path, None), "--data: ", &format!("holds elements of type '{dtype}', expected 8 to 64-bit"));
    }
    says(load(&fixture("scalar.npy"), None), "--data: ", "has shape [], expected 1 to 4 dimensions");
    says(load(&fixture("f2.npy:x"), None), "--data: ", "one array without a name: leave out 'x'");

    let nan = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", &[0, 0, 0, 0, 0, 0, 192, 127]);
    says(load(&folder.write("d.npy", nan), None), "--data: ", "row 0, column 1 (counted from 0): NaN");
    let huge = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", &1e300_f64.to_le_bytes());
    says(load(&folder.write("e.npy", huge), None), "--data: ", "inf is not a finite number");
    for broken in ["", "{}", "{'descr': '<f4'", "{'descr': '<f4', 'shape': (1,)}", "{{{{{{{{{{", "{'é', '\": (}"] {
        says(load(&folder.write("f.npy", npy(broken, &[0; 4])), None), "--data: ", "is not understood");
    }
    let mut version = bytes.clone();
    version[6] = 9;
    says(load(&folder.write("g.npy", version), None), "--data: ", "npy version 9");
}

#[test]
fn archives() {
    let path = fixture("x_and_y.npz");
    let x = load(&path, None).unwrap();
    assert_eq!((x.rows(), x.cols(), x.values()[11]), (4, 3, 11.0));
    assert_eq!(x.name(), format!("{path}:x"));
    assert_eq!(load(&format!("{path}:x"), Some(2)).unwrap().values(), &x.values()[..6]);
    assert_eq!(load_labels(&path).unwrap().ids(), [0, 1, 1, 0]);
    assert_eq!(load_labels(&format!("{path}:y")).unwrap().ids(), [0, 1, 1, 0]);
    says(load_labels(&format!("{path}:weights")), "--labels: ", "elements of type '<f4', expected integers");
    says(load_labels(&format!("{path}:x")), "--labels: ", "has shape [4, 3], expected one dimension");
    says(load(&format!("{path}:z"), None), "--data: ", "no array or column 'z', but: x <f4 [4, 3], y |u1 [4]");
    says(load(&format!("{path}:"), None), "--data: ", "no array or column ''");

    let path = fixture("ambiguous.npz");
    says(load(&path, None), "--data: ", "write FILE:NAME with one of: a <f4 [4, 3], b <f4 [3, 4], c <i8 [4]");
    says(load_labels(&path), "--labels: ", "write FILE:NAME with one of: a <f4");
    assert_eq!(load(&format!("{path}:b"), None).unwrap().values()[..4], [0.0, 3.0, 6.0, 9.0]);
    assert_eq!(load_labels(&format!("{path}:c")).unwrap().len(), 4);

    let folder = Folder::new();
    // A path with a colon is a path when it exists.
    let odd = folder.write("odd:x.npz", fs::read(fixture("x_and_y.npz")).unwrap());
    assert_eq!(load(&odd, None).unwrap().rows(), 4);
    assert_eq!(load(&format!("{odd}:x"), None).unwrap().rows(), 4);
    says(load(&folder.write("no.npz", "no archive"), None), "--data: ", "is malformed");
}

#[test]
fn labels() {
    assert_eq!(load_labels(&fixture("labels_i8.npy")).unwrap().ids(), [1, 0, 1, 2]);
    assert_eq!(load_labels(&fixture("labels_i8.npy")).unwrap().names(), ["-1", "3", "9"]);
    says(load_labels(&fixture("labels_f4.npy")), "--labels: ", "elements of type '<f4', expected integers");
    let digits = load_labels(&embedded("digits-labels-idx1-ubyte.gz")).unwrap();
    assert_eq!(digits, *super::digits().labels().unwrap());
    let images = embedded("digits-images-idx3-ubyte.gz");
    says(load_labels(&images), "--labels: ", "has shape [1797, 8, 8], expected one dimension");
    let first = load(&images, Some(100)).unwrap();
    says(first.clone().with_labels(Labels::from_integers(&[0; 99])), "--labels: ", "99 labels for 100 rows");
    says(first.clone().with_labels(Labels::from_integers(&[0; 101])), "--labels: ", "101 labels for 100 rows");
    assert_eq!(first.with_labels(digits).unwrap().labels().unwrap().len(), 100);

    let iris = embedded("iris.csv");
    assert_eq!(load_labels(&format!("{iris}:target")).unwrap(), *super::iris().labels().unwrap());
    says(load_labels(&iris), "--labels: ", "write FILE:NAME with one of: sepal length (cm), sepal width (cm)");
    says(load_labels(&format!("{iris}:tarjet")), "--labels: ", "has no array or column 'tarjet', but: sepal length");
    let folder = Folder::new();
    let one = folder.write("one.csv", "class\n3\n1\n3\n");
    assert_eq!(load_labels(&one).unwrap().ids(), [1, 0, 1]);
    // One column has no other line for an empty cell than an empty line, which is skipped: quote it.
    let gap = folder.write("gap.csv", "class\n3\n\"\"\n3\n");
    says(load_labels(&gap), "--labels: ", "line 3, column 'class': the value is missing");
    let big = npy("{'descr': '<u8', 'fortran_order': False, 'shape': (1,)}", &[255; 8]);
    says(load_labels(&folder.write("big.npy", big)), "--labels: ", "an integer is 2^63 or more");
}

#[test]
fn tables() {
    let folder = Folder::new();
    let path = folder.write("a.csv", "\u{feff}x, y ,name\n1,2.5,b\n -3 ,4e1,\"a, c\"\r\n\n5,6,b");
    let data = load_csv(&path, Some("name"), None).unwrap();
    assert_eq!((data.values(), data.kind()), (&[1.0, 2.5, -3.0, 40.0, 5.0, 6.0][..], Kind::Table));
    assert_eq!(data.labels().unwrap().names(), ["a, c", "b"]);
    assert_eq!(data.labels().unwrap().ids(), [1, 0, 1]);
    let gz = folder.write("a.csv.gz", gzip(&fs::read(&path).unwrap()));
    assert_eq!(load_csv(&gz, Some("name"), None).unwrap().values(), data.values());
    let two = load_csv(&path, Some("name"), Some(2)).unwrap();
    assert_eq!((two.rows(), two.labels().unwrap().ids()), (2, &[1, 0][..]));
    assert_eq!(two.with_labels(Labels::from_integers(&[0; 3])).unwrap().rows(), 2);
    says(load_csv(&path, Some("name"), Some(4)), "--rows: 4 rows asked for", "has 3");
    says(load_csv(&path, Some("name"), Some(0)), "--rows: 0 rows asked for", "has 3");

    says(load(&path, None), "--data: ", "line 2, column 'name': 'b' is not a finite number");
    says(load_csv(&path, Some("z"), None), "--label-column: ", "has no array or column 'z', but: x, y, name");
    says(load_csv("digits", Some("z"), None), "--label-column: ", "'digits' is not a csv file");
    says(load_csv(&fixture("f2.npy"), Some("z"), None), "--label-column: ", "is not a csv file");
    says(load_csv(&fixture("f2.npy"), None, None), "--data: ", "is not a csv file");
    says(load(&format!("{path}:x"), None), "--data: ", "leave out 'x'");

    let bad = |text: &str| load(&folder.write("b.csv", text), None);
    says(bad("x,y\n1,2\n3,NA\n"), "--data: ", "line 3, column 'y': the value is missing");
    for (text, line) in [
        ("x,y\r\n1,\r\n", 2),
        ("x,y\r\n1,2\r\n3,\r\n", 3),
        ("x,y\r1,2\r3,\r", 3),
        ("x,y\n\n\"1\",2\n\r\n3,\n", 5),
        ("\n\nx,y\n\"1\",\"2\n\"\r\n3,", 6),
    ] {
        says(bad(text), "--data: ", &format!("line {line}, column 'y': the value is missing"));
    }
    says(bad("x,y\r\n\r\n1\r\n"), "--data: ", "line 3: 1 cells, 2 expected");
    let long = "1,2\r\n".repeat(5000);
    says(bad(&format!("x,y\r\n{long}3,NA\r\n{long}")), "--data: ", "line 5002, column 'y': the value is missing");
    says(bad("x,y\n1,\n"), "--data: ", "line 2, column 'y': the value is missing");
    says(bad("x,y\n1,nan\n"), "--data: ", "line 2, column 'y': 'nan' is not a finite number");
    says(bad("x,y\n1,-inf\n"), "--data: ", "line 2, column 'y': '-inf' is not a finite number");
    says(bad("x,y\n1,1e99\n"), "--data: ", "line 2, column 'y': '1e99' is not a finite number");
    says(bad("x,y\n1,\"a\nb\"\n"), "--data: ", "'a\\nb' is not a finite number");
    says(bad("x,y\n1,2\n3\n"), "--data: ", "line 3: 1 cells, 2 expected");
    says(bad("x,y\n1,2,3\n"), "--data: ", "line 2: 3 cells, 2 expected");
    says(bad("1,2\n3,4\n"), "--data: ", "line 1 holds numbers, expected a header");
    says(bad("x,y\n"), "--data: ", "is empty: 0 rows of 2 values");
    says(bad(""), "--data: ", "there is no header");
    says(load_csv(&folder.write("c.csv", "x,x\n1,2\n"), Some("x"), None), "--label-column: ", "several columns");
    says(load_csv(&folder.write("d.csv", "x\n1\n"), Some("x"), None), "--data: ", "is empty: 1 rows of 0 values");
    says(load_csv(&folder.write("e.csv", "x,y\n1,\n"), Some("y"), None), "--label-column: ", "line 2, column 'y'");
    says(load(&folder.write("f.csv", b"x,y\n1,\xff\n"), None), "--data: ", "line 2: not UTF-8");
    let cut = gzip(b"x,y\n1,2\n");
    says(load(&folder.write("g.csv.gz", &cut[..cut.len() - 9]), None), "--data: ", "unexpected end of gzip data");
    says(load_csv(&embedded("iris.csv"), None, None), "--data: ", "line 2, column 'target': 'setosa'");
}

#[test]
fn names_that_lead_nowhere() {
    let folder = Folder::new();
    for name in ["no-such-file", "no-such-file.npy", "no-such-file.npz:x", "no-such-file.csv.gz", "a\nb.npy", ""] {
        says(load(name, None), "--data: cannot open ", "No such file");
        says(load_labels(name), "--labels: cannot open ", "No such file");
        says(load_csv(name, None, None), "--data: ", "'");
    }
    says(load(&folder.write("a.txt", "1"), None), "--data: ", "nor a file named *.idx");
    says(load(&folder.path("").to_string_lossy(), None), "--data: ", "nor a file named *.idx");
    fs::create_dir(folder.path("d.npy")).unwrap();
    says(load(&folder.path("d.npy").to_string_lossy(), None), "--data: ", "after 0 bytes");
}

/// What a header claims costs nothing: only bytes that are there are stored.
#[test]
fn claims_are_not_believed() {
    let folder = Folder::new();
    let most = u32::MAX;
    for shape in [&[most][..], &[most, most], &[most, most, most], &[most; 4], &[1, most, most], &[0, most, most, most]]
    {
        let path = folder.write("a-ubyte", idx(8, shape, &[1; 100]));
        message(load(&path, None));
        message(load(&path, Some(most as usize)));
        message(load_labels(&path));
        // A first row that is there may be read, whatever follows it.
        assert_eq!(load(&path, Some(1)).is_ok(), shape == [most]);
        message(load(&folder.write("a-float.gz", gzip(&idx(0x0d, shape, &[1; 100]))), None));
    }
    for order in ["True", "False"] {
        for shape in [
            "18446744073709551615,",
            "9223372036854775807, 1",
            "4294967296, 4294967296",
            "0, 18446744073709551615, 18446744073709551615",
            "1099511627776, 3",
            "3, 1099511627776",
            "1152921504606846976, 0",
        ] {
            for dtype in ["<f8", "|u1"] {
                let header = format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': ({shape})}}");
                let path = folder.write("a.npy", npy(&header, &[0; 100]));
                message(load(&path, None));
                message(load(&path, Some(usize::MAX)));
                message(load_labels(&path));
            }
        }
    }
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    says(load(&folder.write("b.npy", long), None), "--data: ", "npy header of 4294967295 bytes");
}

/// A short csv file with a column of labels.
fn iris_lines() -> Vec<u8> {
    let iris = fs::read(embedded("iris.csv")).unwrap();
    iris.split_inclusive(|&byte| byte == b'\n').take(6).flatten().copied().collect()
}

fn try_everything(path: &str) {
    let spec = format!("{path}:x");
    let results = [
        load(path, None).err(),
        load(path, Some(2)).err(),
        load(&spec, None).err(),
        load_csv(path, Some("target"), None).err(),
        load_labels(path).err(),
        load_labels(&format!("{path}:target")).err(),
    ];
    for error in results.into_iter().flatten() {
        assert!(is_one_line(&error.to_string()), "{:?}", error.to_string());
    }
}

/// Valid files of every format, cut and corrupted at every byte.
#[test]
fn broken_files_are_errors() {
    let folder = Folder::new();
    let iris = iris_lines();
    let images = idx(8, &[3, 2, 2], &[9; 12]);
    let files = [
        ("a-ubyte.gz", gzip(&images)),
        ("a-ubyte", images),
        ("a.csv.gz", gzip(&iris)),
        ("a.csv", iris),
        ("a.npz", fs::read(fixture("x_and_y.npz")).unwrap()),
        ("b.npz", fs::read(fixture("ambiguous.npz")).unwrap()),
        ("a.npy", fs::read(fixture("f8_fortran_3d.npy")).unwrap()),
        ("l.npy", fs::read(fixture("labels_i8.npy")).unwrap()),
    ];
    for (name, bytes) in files {
        let ok = |path: &str| load(path, None).is_ok() || load_csv(path, Some("target"), None).is_ok();
        let whole = folder.write(name, &bytes);
        assert!(ok(&whole) || name == "b.npz", "{name}");
        for at in 0..bytes.len() {
            let cut = folder.write(name, &bytes[..at]);
            try_everything(&cut);
            assert!(!ok(&cut) || name == "a.csv", "{name} cut after {at} bytes is read");
            for flip in [0x01, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                try_everything(&folder.write(name, &corrupt));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn noise_is_an_error(noise: Vec<u8>, at in 0_usize..300, ending in 0_usize..6) {
        let folder = Folder::new();
        let name = ["a.idx", "a.npy", "a.npz", "a.csv", "a-ubyte.gz", "a.csv.gz"][ending];
        try_everything(&folder.write(name, &noise));
        // The same noise inside a file that starts well.
        let mut file = Cursor::new(match ending {
            0 | 4 => idx(8, &[3, 2, 2], &[9; 12]),
            1 => fs::read(fixture("f8_fortran_3d.npy")).unwrap(),
            2 => fs::read(fixture("x_and_y.npz")).unwrap(),
            _ => iris_lines(),
        });
        file.set_position(at as u64);
        file.write_all(&noise).unwrap();
        let bytes = if ending >= 4 { gzip(file.get_ref()) } else { file.into_inner() };
        try_everything(&folder.write(name, bytes));
    }

    #[test]
    fn numpy_headers_of_noise(header in "\\{'(descr|shape)': ?['\"(\\[\\])<f4,0-9é ]{0,40}\\}?") {
        let folder = Folder::new();
        try_everything(&folder.write("a.npy", npy(&header, &[0; 8])));
    }
}

#[test]
fn shares_of_classes() {
    let digits = digits();
    let mut shares = vec![1.0; 10];
    shares[5..].fill(0.25);
    let counts = |data: &Dataset| data.labels().unwrap().counts();
    let kept = digits.clone().keep_shares(&shares, Key::new(3)).unwrap();
    for (class, (now, then)) in counts(&kept).iter().zip(counts(&digits)).enumerate() {
        assert_eq!(*now, (shares[class] * then as f64).round() as usize, "class {class}");
    }
    assert_eq!(kept.rows(), kept.labels().unwrap().len());
    // Rows keep their labels: every kept row is a row of the whole set with the same label.
    let ids = digits.labels().unwrap().ids();
    for (row, &id) in kept.features().outer_iter().zip(kept.labels().unwrap().ids()).step_by(101) {
        assert!(digits.features().outer_iter().zip(ids).any(|(whole, &label)| whole == row && label == id));
    }
    let other = digits.clone().keep_shares(&shares, Key::new(4)).unwrap();
    assert!(other.features() != kept.features());
    let tiny = digits.clone().keep_shares(&[1e-9; 10], Key::new(3)).unwrap();
    assert_eq!(counts(&tiny), [1; 10]);
    for bad in [vec![1.0; 9], vec![0.0; 10], vec![f64::NAN; 10], vec![1.5; 10]] {
        assert!(matches!(digits.clone().keep_shares(&bad, Key::new(3)), Err(DataError::Keep { .. })), "{bad:?}");
    }
}

#[test]
fn selected_rows_keep_order_scale_and_labels() {
    let digits = digits();
    let some = digits.select_rows(&[1796, 3, 3]).unwrap();
    assert_eq!((some.rows(), some.kind(), some.image()), (3, digits.kind(), digits.image()));
    assert_eq!(some.features().row(0), digits.features().row(1796));
    assert_eq!(some.features().row(2), digits.features().row(3));
    let ids = digits.labels().unwrap().ids();
    assert_eq!(some.labels().unwrap().ids(), [ids[1796], ids[3], ids[3]]);
    assert!(matches!(digits.select_rows(&[]), Err(DataError::Rows { .. })));
    assert!(matches!(digits.select_rows(&[1797]), Err(DataError::Rows { asked: 1798, .. })));
}
