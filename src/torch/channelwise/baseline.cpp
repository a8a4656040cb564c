#include "table.h"

PDARTS_CHANNELWISE_DEFINE(baseline)
