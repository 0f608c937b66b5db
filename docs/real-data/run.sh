#!/usr/bin/env bash
# The real-input runs of docs/real-data.md. Usage: docs/real-data/run.sh mito|chr1|audit OUT
# GENOMAMBA_REAL_DATA names the folder that holds great_apes/. GENOMAMBA names the command.
set -euo pipefail

set_name=${1:?mito, chr1 or audit} out=${2:?output folder}
apes=${GENOMAMBA_REAL_DATA:?the folder with great_apes/}/great_apes
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

case $set_name in
  mito | chr1 | audit) "$set_name" ;;
  *) echo "expected mito, chr1 or audit, got $set_name" >&2 && exit 2 ;;
esac
