//! The sets that are known by name.

/// What is in a set, and so how it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures in class folders.
    ImageFolders,
    /// Pictures with a mask each.
    Segmentation,
    /// Pictures with other targets: boxes, points, several labels in a table.
    ImageTargets,
    /// Labelled texts in folders or a table.
    TextClasses,
    /// Text to model.
    Text,
    /// Rows of a table.
    Table,
    /// Users, things, ratings.
    Ratings,
    /// The four files of MNIST's own format.
    Idx,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// tar in gzip.
    TarGz,
    /// zip.
    Zip,
    /// One file.
    File,
}

impl Packing {
    /// By the ending of a name.
    pub fn of(name: &str) -> Packing {
        let name = name.to_ascii_lowercase();
        match () {
            () if name.ends_with(".tgz") || name.ends_with(".tar.gz") => Packing::TarGz,
            () if name.ends_with(".zip") => Packing::Zip,
            () => Packing::File,
        }
    }
}

/// A data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// What it is asked for by.
    pub name: &'static str,
    /// In one line.
    pub about: &'static str,
    /// Where its file is, the first that answers is used.
    pub urls: &'static [&'static str],
    /// Of the file, in hexadecimal digits. `None`: nobody who is known here has published one; that of the first download is
    /// [recorded](crate::Cache) and later downloads are held against it.
    pub sha256: Option<&'static str>,
    /// What its makers say; `unknown` where they say nothing.
    pub licence: &'static str,
    /// Megabytes to be downloaded, about, where known.
    pub megabytes: Option<u32>,
    /// What is in it.
    pub kind: Kind,
    /// Folders where a system's packages install it.
    pub installed: &'static [&'static str],
}

const fn set(
    name: &'static str,
    about: &'static str,
    urls: &'static [&'static str],
    licence: &'static str,
    megabytes: Option<u32>,
    kind: Kind,
) -> DataSet {
    DataSet { name, about, urls, sha256: None, licence, megabytes, kind, installed: &[] }
}

macro_rules! s3 {
    ($path:literal) => {
        &[concat!("https://s3.amazonaws.com/fast-ai-", $path)]
    };
}

const IMAGENET: &str = "ImageNet terms: research and education, not commercial";
const MNIST: &str = "CC BY-SA 3.0 (as stated by the MNIST page's mirrors)";

/// All of them. Addresses are those of fastai's `URLs` (2.8) unless another source is named.
pub const DATA_SETS: &[DataSet] = &[
    set(
        "mnist_sample",
        "the digits 3 and 7 of MNIST as PNG, train and valid",
        s3!("sample/mnist_sample.tgz"),
        MNIST,
        Some(3),
        Kind::ImageFolders,
    ),
    set(
        "mnist_tiny",
        "a few of the digits 3 and 7",
        s3!("sample/mnist_tiny.tgz"),
        MNIST,
        Some(1),
        Kind::ImageFolders,
    ),
    set(
        "mnist_png",
        "MNIST as PNG, training and testing",
        s3!("imageclas/mnist_png.tgz"),
        MNIST,
        Some(16),
        Kind::ImageFolders,
    ),
    set(
        "mnist_var_size_tiny",
        "a few digits of different sizes",
        s3!("imageclas/mnist_var_size_tiny.tgz"),
        MNIST,
        None,
        Kind::ImageFolders,
    ),
    DataSet {
        name: "fashion_mnist",
        about: "60,000 + 10,000 grey pictures of clothes, 10 classes, as idx files",
        urls: &[],
        sha256: None,
        licence: "MIT",
        megabytes: Some(31),
        kind: Kind::Idx,
        installed: &["/usr/share/datasets/fashion-mnist"],
    },
    set(
        "cifar10",
        "60,000 photos of 32x32 pixels, 10 classes",
        s3!("sample/cifar10.tgz"),
        "unknown",
        Some(168),
        Kind::ImageFolders,
    ),
    set(
        "cifar100",
        "60,000 photos of 32x32 pixels, 100 classes in 20 groups",
        s3!("imageclas/cifar100.tgz"),
        "unknown",
        Some(169),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2",
        "10 easy classes of ImageNet, full size",
        s3!("imageclas/imagenette2.tgz"),
        IMAGENET,
        Some(1500),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2-320",
        "10 easy classes of ImageNet, shorter side 320",
        s3!("imageclas/imagenette2-320.tgz"),
        IMAGENET,
        Some(341),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2-160",
        "10 easy classes of ImageNet, shorter side 160",
        s3!("imageclas/imagenette2-160.tgz"),
        IMAGENET,
        Some(99),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2",
        "10 breeds of dogs of ImageNet, full size",
        s3!("imageclas/imagewoof2.tgz"),
        IMAGENET,
        Some(1300),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2-320",
        "10 breeds of dogs of ImageNet, shorter side 320",
        s3!("imageclas/imagewoof2-320.tgz"),
        IMAGENET,
        Some(328),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2-160",
        "10 breeds of dogs of ImageNet, shorter side 160",
        s3!("imageclas/imagewoof2-160.tgz"),
        IMAGENET,
        Some(92),
        Kind::ImageFolders,
    ),
    set(
        "imagewang",
        "Imagenette and Imagewoof with few labels",
        s3!("imageclas/imagewang.tgz"),
        IMAGENET,
        None,
        Kind::ImageFolders,
    ),
    set(
        "imagewang-320",
        "Imagenette and Imagewoof with few labels, shorter side 320",
        s3!("imageclas/imagewang-320.tgz"),
        IMAGENET,
        None,
        Kind::ImageFolders,
    ),
    set(
        "imagewang-160",
        "Imagenette and Imagewoof with few labels, shorter side 160",
        s3!("imageclas/imagewang-160.tgz"),
        IMAGENET,
        None,
        Kind::ImageFolders,
    ),
    set(
        "pets",
        "Oxford-IIIT pets: 37 breeds of cats and dogs, the breed in the file's name",
        s3!("imageclas/oxford-iiit-pet.tgz"),
        "CC BY-SA 4.0",
        Some(811),
        Kind::ImageTargets,
    ),
    set(
        "dogscats",
        "dogs and cats, train and valid",
        s3!("sample/dogscats.tgz"),
        "unknown",
        Some(839),
        Kind::ImageFolders,
    ),
    set(
        "caltech_101",
        "photos of 101 kinds of things",
        s3!("imageclas/caltech_101.tgz"),
        "unknown",
        Some(132),
        Kind::ImageFolders,
    ),
    set(
        "cars",
        "Stanford cars, 196 models",
        s3!("imageclas/stanford-cars.tgz"),
        "ImageNet-like: research only",
        Some(1957),
        Kind::ImageTargets,
    ),
    set(
        "cub_200_2011",
        "200 kinds of birds",
        s3!("imageclas/CUB_200_2011.tgz"),
        "images of various owners: research only",
        Some(1150),
        Kind::ImageTargets,
    ),
    set(
        "flowers",
        "Oxford flowers, 102 kinds",
        s3!("imageclas/oxford-102-flowers.tgz"),
        "unknown",
        Some(345),
        Kind::ImageTargets,
    ),
    set(
        "food",
        "Food-101",
        s3!("imageclas/food-101.tgz"),
        "images of various owners: research only",
        Some(5687),
        Kind::ImageTargets,
    ),
    set(
        "planet_sample",
        "satellite pictures with several labels each, a part",
        s3!("sample/planet_sample.tgz"),
        "unknown",
        Some(15),
        Kind::ImageTargets,
    ),
    set(
        "planet_tiny",
        "satellite pictures with several labels each, a few",
        s3!("sample/planet_tiny.tgz"),
        "unknown",
        Some(1),
        Kind::ImageTargets,
    ),
    set(
        "camvid",
        "street photos with 32 classes of pixels",
        s3!("imagelocal/camvid.tgz"),
        "CC BY-NC 4.0 (as stated by mirrors)",
        Some(598),
        Kind::Segmentation,
    ),
    set(
        "camvid_tiny",
        "street photos with 32 classes of pixels, 100 small ones",
        s3!("sample/camvid_tiny.tgz"),
        "CC BY-NC 4.0 (as stated by mirrors)",
        Some(2),
        Kind::Segmentation,
    ),
    set(
        "coco_sample",
        "a part of COCO",
        s3!("coco/coco_sample.tgz"),
        "CC BY 4.0 (annotations); images of various owners",
        Some(3245),
        Kind::ImageTargets,
    ),
    set(
        "coco_tiny",
        "a few pictures of COCO with boxes",
        s3!("coco/coco_tiny.tgz"),
        "CC BY 4.0 (annotations); images of various owners",
        Some(1),
        Kind::ImageTargets,
    ),
    set(
        "pascal_2007",
        "Pascal VOC 2007",
        s3!("imagelocal/pascal_2007.tgz"),
        "images of various owners: research only",
        Some(1637),
        Kind::ImageTargets,
    ),
    set(
        "pascal_2012",
        "Pascal VOC 2012",
        s3!("imagelocal/pascal_2012.tgz"),
        "images of various owners: research only",
        Some(2611),
        Kind::ImageTargets,
    ),
    set(
        "biwi_head_pose",
        "where heads are and look",
        s3!("imagelocal/biwi_head_pose.tgz"),
        "research only",
        Some(452),
        Kind::ImageTargets,
    ),
    set(
        "biwi_sample",
        "where heads are, a part",
        s3!("sample/biwi_sample.tgz"),
        "research only",
        Some(1),
        Kind::ImageTargets,
    ),
    set(
        "bedrooms",
        "a part of LSUN's bedrooms",
        s3!("imageclas/bedroom.tgz"),
        "unknown",
        Some(4579),
        Kind::ImageFolders,
    ),
    set(
        "imdb_sample",
        "1,000 film reviews in a table",
        s3!("sample/imdb_sample.tgz"),
        "unknown",
        Some(1),
        Kind::TextClasses,
    ),
    set(
        "imdb",
        "50,000 + 50,000 film reviews",
        s3!("nlp/imdb.tgz"),
        "unknown",
        Some(145),
        Kind::TextClasses,
    ),
    set(
        "ag_news",
        "news in four classes",
        s3!("nlp/ag_news_csv.tgz"),
        "not commercial",
        Some(12),
        Kind::TextClasses,
    ),
    set(
        "dbpedia",
        "texts of 14 kinds of things",
        s3!("nlp/dbpedia_csv.tgz"),
        "CC BY-SA 3.0",
        Some(68),
        Kind::TextClasses,
    ),
    set(
        "yelp_reviews",
        "reviews with stars",
        s3!("nlp/yelp_review_full_csv.tgz"),
        "unknown",
        Some(196),
        Kind::TextClasses,
    ),
    set(
        "yelp_reviews_polarity",
        "reviews, good or bad",
        s3!("nlp/yelp_review_polarity_csv.tgz"),
        "unknown",
        Some(166),
        Kind::TextClasses,
    ),
    set(
        "human_numbers",
        "the numbers to 9,999 in words",
        s3!("sample/human_numbers.tgz"),
        "unknown",
        Some(1),
        Kind::Text,
    ),
    set(
        "wikitext-2",
        "2 million words of good articles",
        s3!("nlp/wikitext-2.tgz"),
        "CC BY-SA 3.0",
        Some(4),
        Kind::Text,
    ),
    set(
        "wikitext-103",
        "103 million words of good articles",
        s3!("nlp/wikitext-103.tgz"),
        "CC BY-SA 3.0",
        Some(190),
        Kind::Text,
    ),
    set(
        "adult_sample",
        "census: who earns more than 50,000 dollars",
        s3!("sample/adult_sample.tgz"),
        "CC BY 4.0 (UCI)",
        Some(1),
        Kind::Table,
    ),
    set(
        "movie_lens_sample",
        "a few ratings of films",
        s3!("sample/movie_lens_sample.tgz"),
        "research, not commercial (GroupLens)",
        Some(1),
        Kind::Ratings,
    ),
    set(
        "ml_100k",
        "100,000 ratings of films",
        &["https://files.grouplens.org/datasets/movielens/ml-100k.zip"],
        "research, not commercial (GroupLens)",
        Some(5),
        Kind::Ratings,
    ),
];

/// The set of this name; `-` and `_`, upper and lower case are the same.
pub fn find(name: &str) -> Option<&'static DataSet> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('_', "-");
    let aliases = [
        ("cifar", "cifar10"),
        ("mnist", "mnist_png"),
        ("imagenette", "imagenette2"),
        ("imagewoof", "imagewoof2"),
        ("imagenette-160", "imagenette2-160"),
        ("imagenette-320", "imagenette2-320"),
        ("imagewoof-160", "imagewoof2-160"),
        ("imagewoof-320", "imagewoof2-320"),
        ("oxford-iiit-pet", "pets"),
        ("ml-sample", "movie_lens_sample"),
    ];
    let name = plain(name);
    let name = aliases.iter().find(|(a, _)| *a == name).map_or(name, |(_, real)| plain(real));
    DATA_SETS.iter().find(|s| plain(s.name) == name)
}

/// Names that look like this one, for messages.
pub(crate) fn similar(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    let start: String = name.chars().take(4).collect();
    let close = |s: &&DataSet| s.name.contains(&name) || s.name.starts_with(&start);
    DATA_SETS.iter().filter(close).map(|s| s.name).take(6).collect()
}
