#!/usr/bin/env bash
# The real-input runs of docs/real-data.md.
# Usage: docs/real-data/run.sh mito|chr1|audit|distant_sets OUT
#        docs/real-data/run.sh distant_audit|distant_kmers|distant_compare OUT five|hard_five
#        docs/real-data/run.sh distant_train|distant_evaluate OUT five|hard_five [OPTION...]
# GENOMAMBA_REAL_DATA names the folder that holds great_apes/ and distant_species/; the five with a
# set need only what distant_sets has written. GENOMAMBA names the command.
set -euo pipefail

set_name=${1:?which run}
out=${2:?output folder}
shift 2
case $set_name in
  distant_audit | distant_kmers | distant_train | distant_evaluate | distant_compare) ;;
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
  for name in five hard_five; do
    local members="human mouse dog cow elephant"
    [[ $name == hard_five ]] && members="human macaque mouse rat cow"
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

distant_evaluate() { # SET [OPTION...]: the best checkpoint at every length, and window by window
  local name=$1
  shift
  "$genomamba" evaluate --checkpoint "$out/$name.run/checkpoints/best.ckpt" \
    --species-set "$out/$name.tsv" --manifest "$out/$name"/test-*.parquet \
    --output "$out/$name.test.html" --predictions "$out/$name.predictions.parquet" "$@"
}

distant_compare() { # SET: the model less each baseline, after distant_evaluate and distant_kmers
  local k
  for k in 4 6; do
    "$python" "$here/compare.py" "$out/$1.predictions.parquet" "$out/$1.$k-mers.parquet" \
      --output "$out/$1.less.$k-mers.json"
  done
}

case $set_name in
  mito | chr1 | audit | distant_sets) "$set_name" ;;
  distant_audit | distant_kmers | distant_train | distant_evaluate | distant_compare)
    "$set_name" "$@"
    ;;
  *) echo "unknown run $set_name; see the first lines of $0" >&2 && exit 2 ;;
esac
