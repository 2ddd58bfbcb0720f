"""Images and their truths: COCO-format data sets, rendered shapes, transforms and batches."""
