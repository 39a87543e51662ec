//! The image service.

use k8s_cri::v1::*;

use super::Cri;
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::image::BOX;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![listed]
}

fn listed(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let images = cri.call_images(async |mut it| it.list_images(ListImagesRequest::default()).await).unwrap().images;
    let image = images.iter().find(|it| it.repo_tags.iter().any(|tag| tag == BOX)).unwrap();
    let status = |image: &str| {
        let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = ImageStatusRequest { image, verbose: false };
        cri.call_images(async |mut it| it.image_status(request).await).unwrap().image
    };
    assert_eq!(status(BOX).unwrap().id, image.id);
    assert_eq!(status("localhost/nothing:latest"), None);
}
