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

/// What has been published about a file, to know it again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its length in bytes.
    pub bytes: u64,
    /// A sum of it, in hexadecimal digits.
    pub sum: Sum,
}

/// A sum over a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256 of all of it.
    Sha256(&'static str),
    /// MD5 of its first 2^20 bytes, which is what fastai publishes (`fastai/data/download_checks.py`): against other and broken files,
    /// not against forgery. The SHA-256 of the first download is [recorded](crate::Cache) beside it, and later ones are held against
    /// that.
    Start(&'static str),
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
    /// What the file must be; `None` for sets without one.
    pub published: Option<Published>,
    /// What its makers say; `unknown` where they say nothing.
    pub licence: &'static str,
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
    published: Published,
    kind: Kind,
) -> DataSet {
    DataSet { name, about, urls, published: Some(published), licence, kind, installed: &[] }
}

const fn starts(bytes: u64, md5: &'static str) -> Published {
    Published { bytes, sum: Sum::Start(md5) }
}

macro_rules! s3 {
    ($path:literal) => {
        &[concat!("https://s3.amazonaws.com/fast-ai-", $path)]
    };
}

const IMAGENET: &str = "ImageNet terms: research and education, not commercial";
const MNIST: &str = "CC BY-SA 3.0 (as stated by the MNIST page's mirrors)";

/// All of them. Addresses, lengths and sums are those of fastai 2.8 (`URLs`, `download_checks.py`) unless another source is named.
pub const DATA_SETS: &[DataSet] = &[
    set(
        "mnist_sample",
        "the digits 3 and 7 of MNIST as PNG, train and valid",
        s3!("sample/mnist_sample.tgz"),
        MNIST,
        starts(3_214_948, "2dbc7ec6f9259b583af0072c55816a88"),
        Kind::ImageFolders,
    ),
    set(
        "mnist_tiny",
        "a few of the digits 3 and 7",
        s3!("sample/mnist_tiny.tgz"),
        MNIST,
        starts(342_207, "56143e8f24db90d925d82a5a74141875"),
        Kind::ImageFolders,
    ),
    set(
        "mnist_png",
        "MNIST as PNG, training and testing",
        s3!("imageclas/mnist_png.tgz"),
        MNIST,
        starts(15_683_414, "03639f83c4e3d19e0a3a53a8a997c487"),
        Kind::ImageFolders,
    ),
    set(
        "mnist_var_size_tiny",
        "a few digits of different sizes",
        s3!("imageclas/mnist_var_size_tiny.tgz"),
        MNIST,
        starts(565_372, "b71a930f4eb744a4a143a6c7ff7ed67f"),
        Kind::ImageFolders,
    ),
    DataSet {
        name: "fashion_mnist",
        about: "60,000 + 10,000 grey pictures of clothes, 10 classes, as idx files",
        urls: &[],
        published: None,
        licence: "MIT",
        kind: Kind::Idx,
        installed: &["/usr/share/datasets/fashion-mnist"],
    },
    set(
        "cifar10",
        "60,000 photos of 32x32 pixels, 10 classes",
        s3!("sample/cifar10.tgz"),
        "unknown",
        starts(168_168_549, "a5f8c31371b63a406b23368042812d3c"),
        Kind::ImageFolders,
    ),
    set(
        "cifar100",
        "60,000 photos of 32x32 pixels, 100 classes in 20 groups",
        s3!("imageclas/cifar100.tgz"),
        "unknown",
        starts(169_168_619, "e5e65dcb54b9d3913f7b8a9ad6607e62"),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2",
        "10 easy classes of ImageNet, full size",
        s3!("imageclas/imagenette2.tgz"),
        IMAGENET,
        starts(1_557_161_267, "2c774ecb40005b35d7937d50f5d42336"),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2-320",
        "10 easy classes of ImageNet, shorter side 320",
        s3!("imageclas/imagenette2-320.tgz"),
        IMAGENET,
        starts(341_663_724, "1f1f74f133caff120e575856659b87a2"),
        Kind::ImageFolders,
    ),
    set(
        "imagenette2-160",
        "10 easy classes of ImageNet, shorter side 160",
        s3!("imageclas/imagenette2-160.tgz"),
        IMAGENET,
        starts(99_003_388, "c475f8f7617a200ba35b9facc48443c3"),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2",
        "10 breeds of dogs of ImageNet, full size",
        s3!("imageclas/imagewoof2.tgz"),
        IMAGENET,
        starts(1_343_715_595, "2cc1c1e36e20cb6fd24ffb978edcb487"),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2-320",
        "10 breeds of dogs of ImageNet, shorter side 320",
        s3!("imageclas/imagewoof2-320.tgz"),
        IMAGENET,
        starts(328_387_740, "7a1fd92672a559a85de76e4810a20c21"),
        Kind::ImageFolders,
    ),
    set(
        "imagewoof2-160",
        "10 breeds of dogs of ImageNet, shorter side 160",
        s3!("imageclas/imagewoof2-160.tgz"),
        IMAGENET,
        starts(92_612_825, "3559b194123981a540b87132dbda412f"),
        Kind::ImageFolders,
    ),
    set(
        "imagewang",
        "Imagenette and Imagewoof with few labels",
        s3!("imageclas/imagewang.tgz"),
        IMAGENET,
        starts(2_900_347_689, "2b7776bac0fc95db72ac8a3b091a3e30"),
        Kind::ImageFolders,
    ),
    set(
        "imagewang-320",
        "Imagenette and Imagewoof with few labels, shorter side 320",
        s3!("imageclas/imagewang-320.tgz"),
        IMAGENET,
        starts(669_826_647, "fff8ac034d60e14fcf7789845e625263"),
        Kind::ImageFolders,
    ),
    set(
        "imagewang-160",
        "Imagenette and Imagewoof with few labels, shorter side 160",
        s3!("imageclas/imagewang-160.tgz"),
        IMAGENET,
        starts(191_498_213, "dab9b1d97b95574ac64122a19bc74ca1"),
        Kind::ImageFolders,
    ),
    set(
        "pets",
        "Oxford-IIIT pets: 37 breeds of cats and dogs, the breed in the file's name",
        s3!("imageclas/oxford-iiit-pet.tgz"),
        "CC BY-SA 4.0",
        starts(811_706_944, "e4db5c768afd933bb91f5f594d7417a4"),
        Kind::ImageTargets,
    ),
    set(
        "dogscats",
        "dogs and cats, train and valid",
        s3!("sample/dogscats.tgz"),
        "unknown",
        starts(839_285_364, "3e483c8d6ef2175e9d395a6027eb92b7"),
        Kind::ImageFolders,
    ),
    set(
        "caltech_101",
        "photos of 101 kinds of things",
        s3!("imageclas/caltech_101.tgz"),
        "unknown",
        starts(131_740_031, "d673425306e98ee4619fcdeef8a0e876"),
        Kind::ImageFolders,
    ),
    set(
        "cars",
        "Stanford cars, 196 models",
        s3!("imageclas/stanford-cars.tgz"),
        "ImageNet-like: research only",
        starts(1_957_803_273, "9045d6673c9ced0889f41816f6bf2f9f"),
        Kind::ImageTargets,
    ),
    set(
        "cub_200_2011",
        "200 kinds of birds",
        s3!("imageclas/CUB_200_2011.tgz"),
        "images of various owners: research only",
        starts(1_150_585_339, "d2acaa99439dff0483c7bbac1bfe2a92"),
        Kind::ImageTargets,
    ),
    set(
        "flowers",
        "Oxford flowers, 102 kinds",
        s3!("imageclas/oxford-102-flowers.tgz"),
        "unknown",
        starts(345_236_087, "5666e01c1311b4c67fcf20d2b3850a88"),
        Kind::ImageTargets,
    ),
    set(
        "food",
        "Food-101",
        s3!("imageclas/food-101.tgz"),
        "images of various owners: research only",
        starts(5_686_607_260, "1a540ebf1fb40b2bf3f2294234ba7907"),
        Kind::ImageTargets,
    ),
    set(
        "planet_sample",
        "satellite pictures with several labels each, a part",
        s3!("sample/planet_sample.tgz"),
        "unknown",
        starts(15_523_994, "8bfb174b3162f07fbde09b54555bdb00"),
        Kind::ImageTargets,
    ),
    set(
        "planet_tiny",
        "satellite pictures with several labels each, a few",
        s3!("sample/planet_tiny.tgz"),
        "unknown",
        starts(997_569, "490873c5683454d4b2611fb1f00a68a9"),
        Kind::ImageTargets,
    ),
    set(
        "camvid",
        "street photos with 32 classes of pixels",
        s3!("imagelocal/camvid.tgz"),
        "CC BY-NC 4.0 (as stated by mirrors)",
        starts(598_913_237, "648371e4f3a833682afb39b08a3ce2aa"),
        Kind::Segmentation,
    ),
    set(
        "camvid_tiny",
        "street photos with 32 classes of pixels, 100 small ones",
        s3!("sample/camvid_tiny.tgz"),
        "CC BY-NC 4.0 (as stated by mirrors)",
        starts(2_314_212, "2cf6daf91b7a2083ecfa3e9968e9d915"),
        Kind::Segmentation,
    ),
    set(
        "coco_sample",
        "a part of COCO",
        s3!("coco/coco_sample.tgz"),
        "CC BY 4.0 (annotations); images of various owners",
        starts(3_245_877_008, "006cd55d633d94b36ecaf661467830ec"),
        Kind::ImageTargets,
    ),
    set(
        "coco_tiny",
        "a few pictures of COCO with boxes",
        s3!("coco/coco_tiny.tgz"),
        "CC BY 4.0 (annotations); images of various owners",
        starts(801_038, "367467451ac4fba79a647753c2c66d3a"),
        Kind::ImageTargets,
    ),
    set(
        "pascal_2007",
        "Pascal VOC 2007",
        s3!("imagelocal/pascal_2007.tgz"),
        "images of various owners: research only",
        starts(1_637_796_771, "433b4706eb7c42bd74e7f784e3fdf244"),
        Kind::ImageTargets,
    ),
    set(
        "pascal_2012",
        "Pascal VOC 2012",
        s3!("imagelocal/pascal_2012.tgz"),
        "images of various owners: research only",
        starts(2_618_908_000, "d90e29e54a4c76c0c6fba8355dcbaca5"),
        Kind::ImageTargets,
    ),
    set(
        "biwi_head_pose",
        "where heads are and look",
        s3!("imagelocal/biwi_head_pose.tgz"),
        "research only",
        starts(452_316_199, "00f4ccf66e8cba184bc292fdc08fb237"),
        Kind::ImageTargets,
    ),
    set(
        "biwi_sample",
        "where heads are, a part",
        s3!("sample/biwi_sample.tgz"),
        "research only",
        starts(593_774, "9179f4c1435f4b291f0d5b072d60c2c9"),
        Kind::ImageTargets,
    ),
    set(
        "bedrooms",
        "a part of LSUN's bedrooms",
        s3!("imageclas/bedroom.tgz"),
        "unknown",
        starts(4_579_163_978, "35d84f38f8a15fe47e66e460c8800d68"),
        Kind::ImageFolders,
    ),
    set(
        "imdb_sample",
        "1,000 film reviews in a table",
        s3!("sample/imdb_sample.tgz"),
        "unknown",
        starts(571_827, "0842e61a9867caa2e6fbdb14fa703d61"),
        Kind::TextClasses,
    ),
    set(
        "imdb",
        "50,000 + 50,000 film reviews",
        s3!("nlp/imdb.tgz"),
        "unknown",
        starts(144_440_600, "90f9b1c4ff43a90d67553c9240dc0249"),
        Kind::TextClasses,
    ),
    set(
        "ag_news",
        "news in four classes",
        s3!("nlp/ag_news_csv.tgz"),
        "not commercial",
        starts(11_784_419, "b86f328f4dbd072486591cb7a5644dcd"),
        Kind::TextClasses,
    ),
    set(
        "dbpedia",
        "texts of 14 kinds of things",
        s3!("nlp/dbpedia_csv.tgz"),
        "CC BY-SA 3.0",
        starts(68_341_743, "239c7837b9e79db34486f3de6a00e38e"),
        Kind::TextClasses,
    ),
    set(
        "yelp_reviews",
        "reviews with stars",
        s3!("nlp/yelp_review_full_csv.tgz"),
        "unknown",
        starts(196_146_755, "1efd84215ea3e30d90e4c33764b889db"),
        Kind::TextClasses,
    ),
    set(
        "yelp_reviews_polarity",
        "reviews, good or bad",
        s3!("nlp/yelp_review_polarity_csv.tgz"),
        "unknown",
        starts(166_373_201, "48c8451c1ad30472334d856b5d294807"),
        Kind::TextClasses,
    ),
    set(
        "human_numbers",
        "the numbers to 9,999 in words",
        s3!("sample/human_numbers.tgz"),
        "unknown",
        starts(30_252, "8a19c3bfa2bcb08cd787e741261f3ea2"),
        Kind::Text,
    ),
    set(
        "wikitext-2",
        "2 million words of good articles",
        s3!("nlp/wikitext-2.tgz"),
        "CC BY-SA 3.0",
        starts(4_070_055, "2a82d47a7b85c8b6a8e068dc4c1d37e7"),
        Kind::Text,
    ),
    set(
        "wikitext-103",
        "103 million words of good articles",
        s3!("nlp/wikitext-103.tgz"),
        "CC BY-SA 3.0",
        starts(190_200_704, "2dd8cf8693b3d27e9c8f0a7df054b2c7"),
        Kind::Text,
    ),
    set(
        "adult_sample",
        "census: who earns more than 50,000 dollars",
        s3!("sample/adult_sample.tgz"),
        "CC BY 4.0 (UCI)",
        starts(968_212, "64eb9d7e23732de0b138f7372d15492f"),
        Kind::Table,
    ),
    set(
        "movie_lens_sample",
        "a few ratings of films",
        s3!("sample/movie_lens_sample.tgz"),
        "research, not commercial (GroupLens)",
        starts(51_790, "10961384dfe7c5181460390a460c1f77"),
        Kind::Ratings,
    ),
    set(
        "ml_100k",
        "100,000 ratings of films",
        &["https://files.grouplens.org/datasets/movielens/ml-100k.zip"],
        "research, not commercial (GroupLens)",
        Published {
            bytes: 4_924_029,
            sum: Sum::Sha256("50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
        },
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
