#!/usr/bin/env bash
# The real-input runs of docs/real-data.md.
# Usage: docs/real-data/run.sh mito|chr1|audit|distant_sets OUT
#        docs/real-data/run.sh distant_audit|distant_kmers|distant_compare OUT five|hard_five
#        docs/real-data/run.sh distant_language OUT [OPTION...]
#        docs/real-data/run.sh distant_train|distant_pretrained|distant_evaluate OUT five|hard_five [OPTION...]
#        docs/real-data/run.sh human_sets OUT
#        docs/real-data/run.sh human_train OUT 1k|8k|65k|1m plain|warmup [OPTION...]
#        docs/real-data/run.sh human_evaluate OUT [OPTION...]
#        docs/real-data/run.sh apes_sets|apes_audit|apes_kmers OUT
#        docs/real-data/run.sh apes_train OUT RUN [OPTION...]
#        docs/real-data/run.sh apes_language|apes_discriminant OUT [OPTION...]
#        docs/real-data/run.sh apes_folds OUT [OPTION...]
#        docs/real-data/run.sh apes_evaluate OUT RUN [OPTION...]
# GENOMAMBA_REAL_DATA names the folder that holds great_apes/ and distant_species/; what follows a
# ..._sets needs only what that has written. GENOMAMBA names the command.
set -euo pipefail

set_name=${1:?which run}
out=${2:?output folder}
shift 2
case $set_name in
  distant_audit | distant_kmers | distant_evaluate | distant_compare) ;;
  distant_language | distant_train | distant_pretrained) ;;
  human_train | human_evaluate | apes_audit | apes_kmers | apes_train) ;;
  apes_language | apes_discriminant | apes_folds | apes_evaluate) ;;
  *)
    apes=${GENOMAMBA_REAL_DATA:?the folder with great_apes/ and distant_species/}/great_apes
    distant=$GENOMAMBA_REAL_DATA/distant_species
    ;;
esac
here=$(dirname "$0")
genomamba=${GENOMAMBA:-genomamba}
python=${PYTHON:-python}
mkdir -p "$out"

# encode SPECIES FASTA...: one store a species, and its row of the species set.
encode() {
  local species=$1
  shift
  "$genomamba" prepare encode "$@" --output "$out/stores/$species" --species "$species"
}

# less NAME SET BASELINE...: a model's predictions less those of a set's baselines, window by window.
less() {
  local name=$1 set=$2 baseline
  shift 2
  for baseline in "$@"; do
    "$python" "$here/compare.py" "$out/$name.predictions.parquet" "$out/$set.$baseline.parquet" \
      --output "$out/$name.less.$baseline.json"
  done
}

train() { # CONFIG RUN SPLITS
  "$genomamba" fit --config species/base --config "$here/$1.yaml" --run "$2" \
    --data.species_set "$out/species.tsv" --data.splits "$3"
}

evaluate() { # CONFIG RUN SPLITS MANIFEST: predictions of a frozen manifest in RUN/predictions.tsv
  "$genomamba" predict --config species/base --config "$here/$1.yaml" --run "$2" \
    --data.species_set "$out/species.tsv" --data.splits "$3" --data.test_manifest "$4" \
    --ckpt_path "$2/checkpoints/last.ckpt"
}

mito() {
  local species fold start end side
  mkdir -p "$out/stores" "$out/bed"
  printf 'species\tstore\trecord_names\n' > "$out/species.tsv"
  for species in human chimp bonobo gorilla orangutan; do
    encode "$species" "$apes/mito/$species.fa.gz"
    record=$(zcat "$apes/mito/$species.fa.gz" | sed -n '1s/^>\([^ ]*\).*/\1/p')
    printf 'record\tname\n%s\tMT\n' "$record" > "$out/$species.names.tsv"
    printf '%s\tstores/%s\t%s.names.tsv\n' "$species" "$species" "$species" >> "$out/species.tsv"
  done
  # Three loci, 200 bp apart, without the D-loop, in the human record's coordinates. The other
  # records start 577 bases later on the circle: the same numbers there would be other loci.
  local -a starts=(600 5800 11000) ends=(5600 10800 16000)
  local -a score=()
  for fold in 0 1 2; do
    local -a bed=()
    for species in human chimp bonobo gorilla orangutan; do
      local shift=577
      [[ $species == human ]] && shift=0
      for i in 0 1 2; do
        side=train
        [[ $i == "$fold" ]] && side=test
        printf 'MT\t%d\t%d\t%s\n' $((starts[i] - shift)) $((ends[i] - shift)) "$side"
      done > "$out/bed/$fold.$species.bed"
      bed+=(--bed "$species=$out/bed/$fold.$species.bed")
    done
    local splits=$out/splits.$fold.tsv manifest=$out/test.$fold.parquet run=$out/run.$fold
    "$genomamba" prepare split "$out/species.tsv" "${bed[@]}" --output "$splits"
    "$genomamba" prepare manifest "$out/species.tsv" --splits "$splits" --length 512 \
      --windows 250 --seed 1 --output "$manifest"
    train mito "$run" "$splits"
    evaluate mito "$run" "$splits" "$manifest"
    score+=(--fold "$splits" "$manifest" "$run/predictions.tsv")
  done
  "$python" "$here/score.py" "$out/species.tsv" "${score[@]}" --locus 512 --train-windows 2000
}

chr1_set() { # stores, species set and splits
  local species
  mkdir -p "$out/stores"
  printf 'species\tstore\n' > "$out/species.tsv"
  for species in human chimp gorilla orangutan; do
    encode "$species" "$apes/chr1/$species".{train,valid,test}.fa.gz
    printf '%s\tstores/%s\n' "$species" "$species" >> "$out/species.tsv"
  done
  names() { zcat "$apes/chr1/human.$1.fa.gz" | sed -n 's/^>\([^ ]*\).*/\1/p' | paste -sd,; }
  "$genomamba" prepare split "$out/species.tsv" --train "$(names train)" --valid "$(names valid)" \
    --test "$(names test)" --output "$out/splits.tsv"
}

audit() {
  chr1_set
  time "$genomamba" prepare audit "$out/species.tsv" --splits "$out/splits.tsv" \
    --output "$out/audit.html"
}

chr1() {
  local part
  chr1_set
  for part in valid test; do
    "$genomamba" prepare manifest "$out/species.tsv" --splits "$out/splits.tsv" --split "$part" \
      --length 16384 --windows $([[ $part == test ]] && echo 1000 || echo 200) --seed 1 \
      --output "$out/$part.parquet"
  done
  "$genomamba" fit --config species/base --config "$here/chr1.yaml" --run "$out/run" \
    --data.species_set "$out/species.tsv" --data.splits "$out/splits.tsv" \
    --data.valid_manifest "$out/valid.parquet"
  evaluate chr1 "$out/run" "$out/splits.tsv" "$out/test.parquet"
  "$python" "$here/score.py" "$out/species.tsv" \
    --fold "$out/splits.tsv" "$out/test.parquet" "$out/run/predictions.tsv" \
    --locus 100000 --train-windows 8000
  "$genomamba" classify "$apes"/chr1/{human,chimp,gorilla,orangutan}.test.fa.gz \
    --checkpoint "$out/run/checkpoints/last.ckpt" --output "$out/records.tsv" \
    --windows-output "$out/windows.tsv"
  cut -f 1,2,3,5,7,8 "$out/records.tsv"
}

distant_sets() { # stores, and for each set: species set, splits, frozen windows without overlap
  local name species part
  mkdir -p "$out/stores"
  for species in human macaque mouse rat cow dog elephant; do
    encode "$species" "$distant/$species".{train,valid,test}.fa.gz
  done
  for name in all five hard_five; do # all: for the language model
    local members="human mouse dog cow elephant"
    [[ $name == hard_five ]] && members="human macaque mouse rat cow"
    [[ $name == all ]] && members="human macaque mouse rat cow dog elephant"
    printf 'species\tstore\n' > "$out/$name.tsv"
    for species in $members; do
      printf '%s\tstores/%s\n' "$species" "$species" >> "$out/$name.tsv"
    done
    local -a split=()
    for part in train valid test; do
      local names
      names=$(for species in $members; do
        zcat "$distant/$species.$part.fa.gz" | sed -n 's/^>\([^ ]*\).*/\1/p'
      done | paste -sd,)
      split+=("--$part" "$names")
    done
    "$genomamba" prepare split "$out/$name.tsv" "${split[@]}" --output "$out/$name.splits.tsv"
    [[ $name == all ]] && continue
    for part in valid test; do
      "$genomamba" prepare manifest "$out/$name.tsv" --splits "$out/$name.splits.tsv" \
        --split "$part" --lengths 2^10,2^12,2^14,2^16 --windows 100000 --apart \
        --output "$out/$name"
    done
  done
}

distant_audit() { # SET: k-mer baselines and leakage controls
  "$genomamba" prepare audit "$out/$1.tsv" --splits "$out/$1.splits.tsv" \
    --lengths 2^10,2^12,2^14,2^16 --output "$out/$1.audit.html"
}

distant_kmers() { # SET: k-mer baselines on the test windows
  "$python" "$here/kmers.py" "$out/$1.tsv" --splits "$out/$1.splits.tsv" \
    --manifest "$out/$1"/test-*.parquet --output "$out/$1.kmers.json" \
    --predictions "$out/$1"
}

distant_train() { # SET [OPTION...]: checkpoints in OUT/SET.run
  local name=$1
  shift
  "$genomamba" fit --config species/base --config recipes/distant_species --run "$out/$name.run" \
    --data.species_set "$out/$name.tsv" --data.splits "$out/$name.splits.tsv" \
    --data.valid_manifest "$out/$name/valid-65536.parquet" "$@"
}

distant_language() { # [OPTION...]: a language model of all seven, in OUT/distant.language
  "$genomamba" fit --config pretraining/base --config recipes/distant_species/language \
    --run "$out/distant.language" --data.species_set "$out/all.tsv" \
    --data.splits "$out/all.splits.tsv" "$@"
}

distant_pretrained() { # SET [OPTION...]: as distant_train, from the weights of distant_language
  local name=$1
  shift
  distant_train "$name" --config recipes/distant_species/pretrained \
    --model.init_args.pretrained "$out/distant.language/checkpoints/last.ckpt" "$@"
}

distant_evaluate() { # SET [OPTION...]: the best checkpoint at every length, and window by window
  local name=$1
  shift
  "$genomamba" evaluate --checkpoint "$out/$name.run/checkpoints/best.ckpt" \
    --species-set "$out/$name.tsv" --manifest "$out/$name"/test-*.parquet \
    --output "$out/$name.test.html" --predictions "$out/$name.predictions.parquet" "$@"
}

distant_compare() { # SET: the model less each baseline, after distant_evaluate and distant_kmers
  less "$1" "$1" 4-mers 6-mers repeats
}

TILE=1048576 # bases: the longest windows of human_* and apes_*
FOLDS=5 # of apes_folds

# without_n FASTA.GZ...: FASTA without N, a line a record. Assemblies have gaps of their own, whose
# places and lengths tell species apart (the audit's control); and windows of all lengths hold the
# same bases only where none is refused for its N. The soft mask goes, too: few records have one.
without_n() {
  zcat "$@" | awk '
    /^>/ { if (NR > 1) print ""; print; next }
    { gsub(/[^ACGTacgt]/, ""); printf "%s", toupper($0) }
    END { print "" }'
}

# human_store: chr1's splits and the extra records of at least a tile.
human_store() {
  mkdir -p "$out/stores" "$out/fasta"
  {
    without_n "$apes"/chr1/human.{train,valid,test}.fa.gz
    without_n "$apes/human_extra/human.fa.gz" |
      awk -v tile=$TILE '/^>/ { name = $0; next } length($0) >= tile { print name; print }'
  } > "$out/fasta/human.fa"
  encode human "$out/fasta/human.fa"
}

part_names() { zcat "$apes/chr1/human.$1.fa.gz" | sed -n 's/^>\([^ ]*\).*/\1/p'; }

extra_names() { sed -n 's/^>\([^ ]*\).*/\1/p' "$out/fasta/human.fa" | grep -v '^chr1:'; }

human_sets() { # the store, tiles of 2^20 as intervals, frozen windows
  local part
  human_store
  printf 'species\tstore\nhuman\tstores/human\n' > "$out/human.tsv"
  # All records that hold a tile, cut from their starts: windows of every length lie in the same
  # tiles, so that models of all lengths see the same bases.
  {
    for part in valid test; do part_names $part | sed "s/\$/\t$part/"; done
    cat "$out/fasta/human.fa"
  } | awk -v tile=$TILE -F '\t' '
    !fasta && !/^>/ { part[$1] = $2; next }
    /^>/ { fasta = 1; split(substr($0, 2), words, " "); name = words[1]; next }
    { for (start = 0; start + tile <= length($0); start += tile)
        printf "%s\t%d\t%d\t%s\n", name, start, start + tile, name in part ? part[name] : "train" }
  ' > "$out/human.bed"
  "$genomamba" prepare split "$out/human.tsv" --intervals "human=$out/human.bed" \
    --output "$out/human.splits.tsv"
  for part in valid test; do
    "$genomamba" prepare manifest "$out/human.tsv" --splits "$out/human.splits.tsv" \
      --split "$part" --lengths 2^10,2^13,2^16,2^20 --windows 100000 --apart --output "$out/human"
  done
}

human_train() { # LENGTH plain|warmup [OPTION...]: last.ckpt in OUT/human.LENGTH.plain|warmup
  local length=$1 how=$2 warmup=()
  local -A bases=([1k]=1024 [8k]=8192 [65k]=65536 [1m]=1048576)
  shift 2
  [[ $how == warmup ]] && warmup=(--config "recipes/human_chr1/${length}_warmup")
  "$genomamba" fit --config pretraining/base --config model/1.4m --config recipes/human_chr1 \
    --config "recipes/human_chr1/$length" "${warmup[@]}" --run "$out/human.$length.$how" \
    --data.species_set "$out/human.tsv" --data.splits "$out/human.splits.tsv" \
    --data.valid_manifest "$out/human/valid-${bases[$length]}.parquet" "$@"
}

human_evaluate() { # [OPTION...]: all models that are there, on the same test bases
  "$python" "$here/../../benchmarks/human.py" "$out"/human.*/ \
    --species-set "$out/human.tsv" --manifest "$out/human/test-$TILE.parquet" \
    --output "$out/human_pretraining.json" "$@"
}

apes_sets() { # stores, species set, splits, frozen windows without overlap
  local species part
  human_store
  for species in chimp gorilla orangutan; do
    without_n "$apes/chr1/$species".{train,valid,test}.fa.gz > "$out/fasta/$species.fa"
    encode "$species" "$out/fasta/$species.fa"
  done
  printf 'species\tstore\n' > "$out/apes.tsv"
  for species in human chimp gorilla orangutan; do
    printf '%s\tstores/%s\n' "$species" "$species" >> "$out/apes.tsv"
  done
  "$genomamba" prepare split "$out/apes.tsv" --train "$(part_names train | paste -sd,)" \
    --valid "$(part_names valid | paste -sd,)" --test "$(part_names test | paste -sd,)" \
    --output "$out/apes.splits.tsv"
  # A model remembers sequence that it has been trained on, and its errors there are others. So the
  # discriminant is fitted to a record (17 Mb a species) that the language model has not seen: that
  # one learns from the other records (11 Mb a species) and the extra human ones.
  local valid=(--valid "$(part_names valid | paste -sd,)")
  "$genomamba" prepare split "$out/apes.tsv" "${valid[@]}" \
    --train "$({ part_names train | tail -n +2; extra_names; } | paste -sd,)" \
    --output "$out/apes.language.splits.tsv"
  "$genomamba" prepare split "$out/apes.tsv" "${valid[@]}" \
    --train "$(part_names train | sed -n 1p)" --output "$out/apes.discriminant.splits.tsv"
  apes_fold_sets "$(part_names train | sed -n 1p)"
  for part in valid test; do
    "$genomamba" prepare manifest "$out/apes.tsv" --splits "$out/apes.splits.tsv" \
      --split "$part" --lengths 2^14,2^16,2^18,2^20 --windows 100000 --apart --output "$out/apes"
  done
}

# apes_fold_sets RECORD: its first 15 tiles in five folds, each to be told by the others' loci; the
# same tiles of every species.
apes_fold_sets() {
  local fold species tile
  mkdir -p "$out/apes.folds"
  for ((fold = 0; fold < FOLDS; fold++)); do
    local -a intervals=()
    for species in human chimp gorilla orangutan; do
      for ((tile = 0; tile < 3 * FOLDS; tile++)); do
        printf '%s\t%d\t%d\t%s\n' "$1" $((tile * TILE)) $(((tile + 1) * TILE)) \
          "$([[ $((tile / 3)) == "$fold" ]] && echo test || echo train)"
      done > "$out/apes.folds/$fold.$species.bed"
      intervals+=(--intervals "$species=$out/apes.folds/$fold.$species.bed")
    done
    "$genomamba" prepare split "$out/apes.tsv" "${intervals[@]}" \
      --output "$out/apes.folds/$fold.splits.tsv"
    "$genomamba" prepare manifest "$out/apes.tsv" --splits "$out/apes.folds/$fold.splits.tsv" \
      --split test --lengths 2^14,2^16,2^18,2^20 --windows 100000 --apart \
      --output "$out/apes.folds/$fold"
  done
}

apes_audit() { # k-mer baselines and leakage controls
  "$genomamba" prepare audit "$out/apes.tsv" --splits "$out/apes.splits.tsv" \
    --lengths 2^14,2^16,2^18,2^20 --output "$out/apes.audit.html"
}

apes_kmers() { # k-mer baselines on the test windows
  "$python" "$here/kmers.py" "$out/apes.tsv" --splits "$out/apes.splits.tsv" --locus 262144 \
    --k 3,4,5,6 --manifest "$out/apes"/test-*.parquet --output "$out/apes.kmers.json" \
    --predictions "$out/apes"
}

apes_train() { # RUN [OPTION...]: checkpoints in OUT/apes.RUN
  local name=$1
  shift
  "$genomamba" fit --config species/base --config model/1.4m --config recipes/apes_chr1 \
    --run "$out/apes.$name" --data.species_set "$out/apes.tsv" \
    --data.splits "$out/apes.splits.tsv" \
    --data.valid_manifest "$out/apes/valid-262144.parquet" "$@"
}

apes_language() { # [OPTION...]: a language model of all four, in OUT/apes.language
  "$genomamba" fit --config pretraining/base --config model/1.4m \
    --config recipes/apes_chr1/language --run "$out/apes.language" \
    --data.species_set "$out/apes.tsv" --data.splits "$out/apes.language.splits.tsv" "$@"
}

apes_discriminant() { # [OPTION...]: by that model's errors, in OUT/apes.discriminant
  "$genomamba" fit --config species/discriminant --config model/1.4m \
    --config recipes/apes_chr1/discriminant --run "$out/apes.discriminant" \
    --model.init_args.pretrained "$out/apes.language/checkpoints/last.ckpt" \
    --data.species_set "$out/apes.tsv" --data.splits "$out/apes.discriminant.splits.tsv" "$@"
}

apes_folds() { # [OPTION...]: the discriminant and the baselines on loci that others are fitted to
  local fold at baseline
  for ((fold = 0; fold < FOLDS; fold++)); do
    at=$out/apes.folds/$fold
    # 3,072 windows: an epoch is 48 steps.
    apes_discriminant --run "$out/apes.fold.$fold" --data.splits "$at.splits.tsv" \
      --trainer.max_steps 48 --trainer.val_check_interval 48 --checkpoint.every_n_train_steps 48 "$@"
    "$genomamba" evaluate --checkpoint "$out/apes.fold.$fold/checkpoints/last.ckpt" \
      --species-set "$out/apes.tsv" --manifest "$at"/test-*.parquet --locus $TILE \
      --output "$at.test.html" --predictions "$at.predictions.parquet" --both-strands
    "$python" "$here/kmers.py" "$out/apes.tsv" --splits "$at.splits.tsv" --locus $TILE \
      --k 3,4,5,6 --manifest "$at"/test-*.parquet --output "$at.kmers.json" --predictions "$at"
  done
  for baseline in {3,4,5,6}-mers repeats; do
    local -a pairs=()
    for ((fold = 0; fold < FOLDS; fold++)); do
      pairs+=("$out/apes.folds/$fold.predictions.parquet" "$out/apes.folds/$fold.$baseline.parquet")
    done
    "$python" "$here/compare.py" "${pairs[@]}" --output "$out/apes.folds.less.$baseline.json"
  done
}

apes_evaluate() { # RUN [OPTION...]: the best or only checkpoint at every length, and less each baseline
  local name=$1 checkpoint
  shift
  checkpoint=$out/apes.$name/checkpoints/best.ckpt
  [[ -e $checkpoint ]] || checkpoint=$out/apes.$name/checkpoints/last.ckpt
  "$genomamba" evaluate --checkpoint "$checkpoint" \
    --species-set "$out/apes.tsv" --manifest "$out/apes"/test-*.parquet --locus 262144 \
    --output "$out/apes.$name.test.html" --predictions "$out/apes.$name.predictions.parquet" "$@"
  less "apes.$name" apes {3,4,5,6}-mers repeats
}

case $set_name in
  mito | chr1 | audit | distant_sets | human_sets | apes_sets) "$set_name" ;;
  distant_audit | distant_kmers | distant_evaluate | distant_compare | \
    distant_language | distant_train | distant_pretrained | \
    human_train | human_evaluate | apes_audit | apes_kmers | apes_train | apes_language | \
    apes_discriminant | apes_folds | apes_evaluate)
    "$set_name" "$@"
    ;;
  *) echo "unknown run $set_name; see the first lines of $0" >&2 && exit 2 ;;
esac
