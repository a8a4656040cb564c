#include "mix_templates.h"

PDARTS_MIX_DEFINE(avx512)
