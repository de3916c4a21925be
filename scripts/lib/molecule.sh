# shellcheck shell=bash
# Molecule as this checkout uses it.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# All scenarios share one state, and two checkouts of one name don't.
export MOLECULE_PROJECT_DIRECTORY=$KIT_ROOT
export MOLECULE_EPHEMERAL_DIRECTORY=$KIT_CACHE/molecule
# Without it Molecule looks for extensions/molecule too, and warns.
export MOLECULE_GLOB='molecule/*/molecule.yml'
export ANSIBLE_CONFIG=$KIT_ROOT/ansible.cfg

# The scenarios share one state, so Molecule warns of a "modified" scenario where the times of their files differ.
molecule_level_times() { touch --reference="$KIT_ROOT/galaxy.yml" "$KIT_ROOT"/molecule/*/molecule.yml; }

# The names of all scenarios, one a line.
molecule_scenarios() { find "$KIT_ROOT/molecule" -mindepth 2 -maxdepth 2 -name molecule.yml -printf '%h\n' | sed 's:.*/::' | sort; }

# Makes the boxes that are missing, whatever Molecule remembers of earlier ones.
molecule_create() {
  rm -f -- "$MOLECULE_EPHEMERAL_DIRECTORY/state.yml"
  molecule create
}

# molecule_verdict SCENARIO LOG: 0 when Molecule's recap says that the scenario ran and all of it succeeded. Molecule's
# exit status alone passes a scenario whose playbook is missing, and Ansible's one whose hosts don't exist.
molecule_verdict() {
  local scenario=$1 log=$2
  # Not "no hosts matched", which is also said of a play over those gateways on which something is due, when nothing is.
  if grep -q 'Could not match supplied host pattern' "$log"; then
    printf 'a play of the scenario %s names hosts that are not there\n' "$scenario"
    return 1
  fi
  awk -v scenario="$scenario" '
    /^SCENARIO RECAP/ { recap = 1 }
    recap && $1 == scenario {
      for (i = 2; i <= NF; i++) { split($i, pair, "="); sum[pair[1]] += pair[2] }
    }
    END {
      if (!recap) { print "no recap: Molecule did not come to its end"; exit 1 }
      if (sum["failed"] || sum["missing"] || sum["successful"] < 3) {
        printf "recap: %d successful, %d missing, %d failed\n", sum["successful"], sum["missing"], sum["failed"]
        exit 1
      }
    }' "$log"
}
