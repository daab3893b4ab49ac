"""What was tried with the nodule network and what it gave: a part of its card, written by hand; see package_ct."""

TRIED = """**Where the Dice is lost, and what was tried** (patches and cubes of training and validation patients):
- The network is no better on what it learned from: 365 training patches 0.844, 365 validation patches 0.848 (one view,
  threshold 0.5). Of 2067 patches 10 have a Dice under 0.3: faint ground glass, a cavity, a calcified core of which the
  reader outlined the core alone. The best threshold of each single training patch would give 0.88, not more.
- Of 1702 training patches: marked by one reader 0.819, by two 0.848, by three 0.873, by four 0.891. What is left is
  mostly how readers differ.
- Trained on for 700 steps (4 workers, rate 0.001, batches of 16, seed 11, ground glass and part-solid drawn twice as
  often, small and large ones 1.3 and 1.5 times; commit 72c311a): validation patches 0.853 (step 400) against 0.854 with
  4 views, ground glass 0.799 against 0.803. The mean of both networks' answers 0.854, of their weights 0.854. Not kept.
- A magnified second look (1.41 times) at nodules under 6.5 mm: 0.855 against 0.854; at all: 0.847. The mask of largest
  expected Dice instead of thresholds: 0.853. Holes filled: 0.8569 against 0.8569. Lower thresholds against empty
  answers: no validation nodule more, and more points beside nodules are answered. Contrast doubled where nothing is
  seen: one nodule of seven. None kept.
- Cubes: readers leave out the slices where only a nodule's cap shows. Slices at either end that hold under 0.3 of the
  largest one's area are left out: 59 cubes 0.759 to 0.769 (45 better, 12 worse; 23 of them of validation, 0.785 to
  0.791). Mean instead of median of the three directions 0.799, axial alone 0.779 (21 cubes, without that rule; median
  0.803). A logistic regression on the three directions 0.773 and boosted trees 0.766 (5 folds by patient, 34 cubes;
  thresholds 0.771). A point at the nodule's own middle 0.781 against 0.791 (23 cubes). None kept but the first.
- A network of 1.5 times the features (3.1 instead of 1.5 million weights), from random weights (`lungxai train
  ct_nodule --epochs 32 --seed 5 --set rate=0.0015 --set average=0.999 --set width=24`, 1 process, 2 threads, commit
  b684424; ended for want of time after 17 of 32 epochs of 200 steps): validation patches 0.842 against 0.848 (one view,
  threshold 0.5), still rising by 0.001 an epoch while the loss on training patches fell on. The mean of both networks'
  answers (epoch 16, 4 views) 0.849 against 0.850, and by 0.002 worse with thresholds by size (365 patches, standard
  error 0.002). Not kept; what it would have reached is not known.
- A second look at what the first answer outlined (365 validation patches, 4 views, threshold 0.5; the first look
  0.850): with a box about it 0.841, with a point at its middle 0.845, the mean of all three 0.848; without a prompt
  0.842. None kept.
- False positives of the search: in three drawn chests (SYNTHETIC, seeds 2001 to 2003) both nodules of each are found,
  and three pieces where none is: the drawn vessels of the hilum. They are as sure from near (0.91 to 0.93) as the
  nodules (0.95 to 0.96), and on the real series surer (0.80 to 0.87) than the tumour (0.82): no threshold tells them
  apart. Nor does how much of a piece's surroundings is dense (within 3 mm: 0.09 to 0.55; readers' outlines in 79 cubes
  of training patients 0 to 0.61; the tumour 0.56), its median HU, or how compact it is: to drop the drawn vessels (to
  0.86) would drop nearly half of those outlines (median 0.88).
- Hard negatives: `--set mix=chests --set start_from=WEIGHTS` trains on what the given weights take for nodules in ten
  drawn chests and in the lung of the real series without the tumour (ct_negatives). The present weights give 60 such
  planes of that lung and 104 of a drawn chest, 29 of them of its planted nodules. Trained so (rate 0.0003, seed 6, one
  worker; commit 36dd368): after 200 steps 0.848 of validation patches in one view, as before, after 800 steps 0.840. Of
  four drawn chests (seeds 2001 to 2004) each keeps its three false pieces, at 200 and at 800 steps; of the real series
  the four false pieces stay, and 2 of 9 box slices are hit instead of 9 (200 steps). Not kept, so the series is still
  one that no weights that ship saw.
- More of everything, on a GPU (NVIDIA H200, commit ab43814, `--loaders 5 --precision bf16 --set batch=64 --set
  mix=stratified --set average=0.999 --set epoch_steps=400`): a network of twice the features (6.1 million weights) from
  random weights, `--set width=32 --set rate=0.002 --seed 21`, 12 epochs of 17 (310,000 crops; the one that ships saw
  64,000 with prompts): validation patches 0.855 in one view against 0.848, rising by 0.001 an epoch at the end; 4
  views, threshold 0.5, 0.861 against 0.854; with thresholds by size, across folds of patients, 0.861 against 0.857.
  Cubes 0.789 against 0.791. Another (rate 0.001, seed 22) 0.857. The present network taught by both (`--set
  teachers=...`, 6 epochs of 12) 0.852; the mean of all four 0.858. On the real series the larger one hits 6 of 9 box
  slices, with 4 false pieces, and a prompt takes 2.6 times as long. Not kept; not measured on the test split.
- A 3D network (`lungxai train ct_refine`) that corrects the median of the three directions, trained on 79 cubes with 4
  prompts each (NVIDIA H200, commit ab43814, 12 epochs of 50 steps): cubes that its 5 folds held out 0.770 against 0.764
  (standard error of the difference 0.004), the 23 cubes of validation 0.785 against 0.788; with three more networks of
  a CPU averaged, 0.792 (10 better, 6 worse). It overfits. Not in this bundle; `--refine RUN` would put it there."""
